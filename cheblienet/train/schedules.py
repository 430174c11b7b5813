"""The learning rate's course over a run, by torch's schedulers; each moves once a step."""

from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, MultiStepLR, OneCycleLR

from .._checks import check_choice, check_integer

SCHEDULES = ("constant", "cosine", "onecycle", "step")


def schedule(name: str, optimizer: Optimizer, total_steps: int) -> LRScheduler | None:
    """The scheduler for a run of `total_steps` steps that begins with the optimizer's learning rate lr.

    "constant" is None. "cosine" falls from lr to 0 along half a wave. "onecycle" rises from lr / 25 to lr over three tenths
    of the steps, and falls to almost 0 (Smith and Topin 2019, arXiv:1708.07120); momentum stays. "step" takes a tenth of lr
    from the half of the steps on, a hundredth from three quarters on. ValueError for another name, and for less than a step.
    """
    check_choice("schedule", name, SCHEDULES)
    check_integer("total_steps", total_steps, 1)
    if name == "cosine":
        return CosineAnnealingLR(optimizer, total_steps)
    if name == "onecycle":
        # A momentum that moves would be another recording at every step.
        return OneCycleLR(optimizer, optimizer.param_groups[0]["lr"], total_steps, cycle_momentum=False)
    if name == "step":
        return MultiStepLR(optimizer, [max(1, total_steps // 2), max(1, total_steps * 3 // 4)])
    return None
