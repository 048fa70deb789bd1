"""The GeoPackage's tables, as the specification 1.3 and readers want them; constants only."""

from typing import Final

EPOCH: Final = "1970-01-01T00:00:00.000Z"
"""The time of the last change: fixed, so that the same nuclei give the same bytes."""

TABLES: Final = (
    """CREATE TABLE gpkg_spatial_ref_sys (
        srs_name TEXT NOT NULL, srs_id INTEGER NOT NULL PRIMARY KEY, organization TEXT NOT NULL,
        organization_coordsys_id INTEGER NOT NULL, definition TEXT NOT NULL, description TEXT)""",
    """CREATE TABLE gpkg_contents (
        table_name TEXT NOT NULL PRIMARY KEY, data_type TEXT NOT NULL, identifier TEXT UNIQUE,
        description TEXT DEFAULT '',
        last_change DATETIME NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ','now')),
        min_x DOUBLE, min_y DOUBLE, max_x DOUBLE, max_y DOUBLE, srs_id INTEGER,
        CONSTRAINT fk_gc_r_srs_id FOREIGN KEY (srs_id)
            REFERENCES gpkg_spatial_ref_sys(srs_id))""",
    """CREATE TABLE gpkg_geometry_columns (
        table_name TEXT NOT NULL, column_name TEXT NOT NULL, geometry_type_name TEXT NOT NULL,
        srs_id INTEGER NOT NULL, z TINYINT NOT NULL, m TINYINT NOT NULL,
        CONSTRAINT pk_geom_cols PRIMARY KEY (table_name, column_name),
        CONSTRAINT uk_gc_table_name UNIQUE (table_name),
        CONSTRAINT fk_gc_tn FOREIGN KEY (table_name) REFERENCES gpkg_contents(table_name),
        CONSTRAINT fk_gc_srs FOREIGN KEY (srs_id) REFERENCES gpkg_spatial_ref_sys (srs_id))""",
    """CREATE TABLE gpkg_extensions (
        table_name TEXT, column_name TEXT, extension_name TEXT NOT NULL,
        definition TEXT NOT NULL, scope TEXT NOT NULL,
        CONSTRAINT ge_tce UNIQUE (table_name, column_name, extension_name))""",
    """CREATE TABLE category (
        id INTEGER PRIMARY KEY NOT NULL, name TEXT NOT NULL, color TEXT NOT NULL)""",
    """CREATE TABLE slide (
        id INTEGER PRIMARY KEY NOT NULL, path TEXT NOT NULL, digest TEXT NOT NULL,
        width INTEGER NOT NULL, height INTEGER NOT NULL, mpp DOUBLE NOT NULL)""",
    """CREATE TABLE run (
        id INTEGER PRIMARY KEY NOT NULL, model_digest TEXT, configuration TEXT NOT NULL,
        versions TEXT NOT NULL)""",
)

NUCLEI: Final = """CREATE TABLE nuclei (
        fid INTEGER PRIMARY KEY NOT NULL, geom POLYGON NOT NULL, category_id INTEGER NOT NULL,
        score DOUBLE NOT NULL, area DOUBLE NOT NULL, centroid_x DOUBLE NOT NULL,
        centroid_y DOUBLE NOT NULL, tile_id INTEGER NOT NULL)"""

REFERENCE_SYSTEMS: Final = (
    (
        *("Undefined Cartesian SRS", -1, "NONE", -1, "undefined"),
        "undefined Cartesian coordinate reference system",
    ),
    (
        *("Undefined geographic SRS", 0, "NONE", 0, "undefined"),
        "undefined geographic coordinate reference system",
    ),
    (
        *("WGS 84 geodetic", 4326, "EPSG", 4326),
        'GEOGCS["WGS 84",DATUM["WGS_1984",SPHEROID["WGS 84",6378137,298.257223563,'
        'AUTHORITY["EPSG","7030"]],AUTHORITY["EPSG","6326"]],PRIMEM["Greenwich",0,'
        'AUTHORITY["EPSG","8901"]],UNIT["degree",0.0174532925199433,AUTHORITY["EPSG","9122"]],'
        'AUTHORITY["EPSG","4326"]]',
        "longitude/latitude coordinates in decimal degrees on the WGS 84 spheroid",
    ),
)

CONTENTS: Final = (
    ("nuclei", "features", "nuclei", "Outlines in level-0 pixels, y down", -1),
    ("category", "attributes", "category", "Classes; nuclei.category_id names them", None),
    ("slide", "attributes", "slide", "The slide", None),
    ("run", "attributes", "run", "What found the nuclei", None),
)

RTREE: Final = "CREATE VIRTUAL TABLE rtree_nuclei_geom USING rtree(id, minx, maxx, miny, maxy)"

RTREE_EXTENSION: Final = (
    *("nuclei", "geom", "gpkg_rtree_index"),
    *("http://www.geopackage.org/spec120/#extension_rtree", "write-only"),
)

_ENTER: Final = """INSERT OR REPLACE INTO rtree_nuclei_geom VALUES (
        NEW.fid, ST_MinX(NEW.geom), ST_MaxX(NEW.geom), ST_MinY(NEW.geom), ST_MaxY(NEW.geom))"""

TRIGGERS: Final = (
    f"""CREATE TRIGGER rtree_nuclei_geom_insert AFTER INSERT ON nuclei
        WHEN (NEW.geom NOT NULL AND NOT ST_IsEmpty(NEW.geom))
        BEGIN {_ENTER}; END""",
    f"""CREATE TRIGGER rtree_nuclei_geom_update1 AFTER UPDATE OF geom ON nuclei
        WHEN OLD.fid = NEW.fid AND (NEW.geom NOTNULL AND NOT ST_IsEmpty(NEW.geom))
        BEGIN {_ENTER}; END""",
    """CREATE TRIGGER rtree_nuclei_geom_update2 AFTER UPDATE OF geom ON nuclei
        WHEN OLD.fid = NEW.fid AND (NEW.geom ISNULL OR ST_IsEmpty(NEW.geom))
        BEGIN DELETE FROM rtree_nuclei_geom WHERE id = OLD.fid; END""",
    f"""CREATE TRIGGER rtree_nuclei_geom_update3 AFTER UPDATE ON nuclei
        WHEN OLD.fid != NEW.fid AND (NEW.geom NOTNULL AND NOT ST_IsEmpty(NEW.geom))
        BEGIN DELETE FROM rtree_nuclei_geom WHERE id = OLD.fid; {_ENTER}; END""",
    """CREATE TRIGGER rtree_nuclei_geom_update4 AFTER UPDATE ON nuclei
        WHEN OLD.fid != NEW.fid AND (NEW.geom ISNULL OR ST_IsEmpty(NEW.geom))
        BEGIN DELETE FROM rtree_nuclei_geom WHERE id IN (OLD.fid, NEW.fid); END""",
    """CREATE TRIGGER rtree_nuclei_geom_delete AFTER DELETE ON nuclei
        WHEN OLD.geom NOT NULL
        BEGIN DELETE FROM rtree_nuclei_geom WHERE id = OLD.fid; END""",
)

CONTOUR: Final = """CREATE VIEW contour AS
    SELECT fid AS id, tile_id AS annidx, fid AS elementidx, 'polyline' AS type,
        name AS "group", score, color, minx AS xmin, maxx AS xmax, miny AS ymin, maxy AS ymax,
        (maxx - minx) * (maxy - miny) AS bbox_area, 1 AS keep
    FROM nuclei JOIN category ON category.id = category_id
        JOIN rtree_nuclei_geom AS box ON box.id = fid"""
"""Serves queries written for NuHTC's own table, but for the lists of coordinates: those are in
`geom`. Boxes are the index's: single precision, rounded outward."""
