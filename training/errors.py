"""What can go wrong in training, as messages for people.

::

    TrainingError          exit code 1
    ├── DataError          a data set's folder or file is missing, damaged or inconsistent
    └── CheckpointError    a checkpoint cannot be read, or does not fit the network
"""


class TrainingError(Exception):
    """Something that the user can mend: the message says what, where and how."""


class DataError(TrainingError):
    """A data set cannot be used as it is."""


class CheckpointError(TrainingError):
    """A checkpoint cannot be read, or does not fit the network it is loaded into."""
