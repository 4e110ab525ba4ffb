"""What comes after a deep image prior: a light network that learns from many restorations, and a finish that learns from examples.

Both are trained by the one loop of the core, step by step, with other patches in every step: `training`.
"""
