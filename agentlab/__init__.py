"""agentlab: the helper package of a course on building AI agents.

Importing it is cheap (no torch): each module is imported where it is used, for example
``from agentlab import corpus``.
"""

__version__ = "0.1.0"
