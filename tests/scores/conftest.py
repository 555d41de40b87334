"""open_clip imports torchvision, which a build that does not match torch's only survives after motion_lib."""

import motion_lib.models.clip  # noqa: F401
