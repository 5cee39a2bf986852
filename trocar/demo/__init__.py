"""The demo: the commands that it runs, and the small model that it ships.

for step in plan(Path("demo"), DemoOptions()): print(step.command)
"""

from trocar.demo.plan import DemoOptions, plan

__all__ = ["DemoOptions", "plan"]
