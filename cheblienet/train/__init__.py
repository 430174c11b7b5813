"""Training as the programs in `scripts` share it, on pytorch-ignite."""

from .engine import Report, Task, fit
from .metrics import classification_metrics, segmentation_metrics
from .options import Options

__all__ = ["Options", "Report", "Task", "classification_metrics", "fit", "segmentation_metrics"]
