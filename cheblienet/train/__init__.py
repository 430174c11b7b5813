"""Training as the programs in `scripts` share it, on pytorch-ignite, and a step for loops of one's own."""

from .capture import TrainingStep
from .checkpoint import load_state
from .engine import fit
from .metrics import classification_metrics, segmentation_metrics
from .options import Options
from .schedules import SCHEDULES, schedule
from .task import Report, Task

__all__ = [
    "SCHEDULES",
    "Options",
    "Report",
    "Task",
    "TrainingStep",
    "classification_metrics",
    "fit",
    "load_state",
    "schedule",
    "segmentation_metrics",
]
