"""Fine-tuning by text prototypes (paper, section 4.2 and appendix A): recipe, loop, checkpoints."""

from motion_lib.training.checkpoints import History
from motion_lib.training.loop import Execution, fine_tune, parameter_groups
from motion_lib.training.recipe import CLIP_RATIO_READINGS, Recipe, learning_rate

__all__ = ["CLIP_RATIO_READINGS", "Execution", "History", "Recipe", "fine_tune", "learning_rate", "parameter_groups"]
