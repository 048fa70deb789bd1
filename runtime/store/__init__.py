"""What inference leaves behind, and the only thing that every output is made from.

A store is a folder, `<stem>.nuclei/`::

    manifest.json   which slide, model, grid and settings; written once, before the first tile
    000000.arrow    what the first 128 tiles answered (zstd), 000001.arrow the next, ...
    ledger.jsonl    one line per finished part, each with the part's and its own checksum

Only the ledger says what is finished. A part without a line, a line that is torn, and a part
that differs from its line are dropped and run again; so a run may be killed at any moment, and
the same command continues it and ends in the same bytes.
"""
