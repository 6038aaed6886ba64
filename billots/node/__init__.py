"""The sans-IO node: messages and time go in; replies, sends and signature checks come out."""

from billots.node.node import Node, Settings

__all__ = ["Node", "Settings"]
