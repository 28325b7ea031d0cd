"""Exercises and quizzes: ``from agentlab.exercises import ____, exercise, quiz``.

One file per topic holds what a lesson asks (``prepare.py`` for lesson 01, and so on); ``engine.py`` runs it.
"""

from agentlab.exercises.engine import ____, all_exercises, all_quizzes, exercise, quiz

__all__ = ["____", "all_exercises", "all_quizzes", "exercise", "quiz"]
