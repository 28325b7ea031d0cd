"""Widgets of the lessons. Each works live, and leaves a table or figure that a reader sees where nothing is running.

`panel` is what they share, `theme` their look. Each widget is a class with plain methods, so that it works, and is tested,
without a page: `ChatPanel`, `TraceViewer`, `TrainingMonitor` and so on. Only ipywidgets' own controls are used.
"""

from agentlab.ui.board import ProgressBoard
from agentlab.ui.chat import ChatPanel
from agentlab.ui.decoding import DecodingPlayground, GrammarViewer
from agentlab.ui.panel import Panel, live
from agentlab.ui.spans import SpanEditor
from agentlab.ui.traces import TraceViewer
from agentlab.ui.training import LiveCurve, TrainingMonitor
from agentlab.ui.tryout import LONGEST_INPUT, Slider, explore, explore_widget, play, play_widget

__all__ = [
    "LONGEST_INPUT",
    "ChatPanel",
    "DecodingPlayground",
    "GrammarViewer",
    "LiveCurve",
    "Panel",
    "ProgressBoard",
    "Slider",
    "SpanEditor",
    "TraceViewer",
    "TrainingMonitor",
    "explore",
    "explore_widget",
    "live",
    "play",
    "play_widget",
]
