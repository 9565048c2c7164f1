# SPDX-License-Identifier: BSD-2-Clause
"""tools/tidy as a module."""
import importlib.machinery
import importlib.util
import os

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def load():
    loader = importlib.machinery.SourceFileLoader('tidy', os.path.join(ROOT, 'tools/tidy'))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader('tidy', loader))
    loader.exec_module(module)
    return module


tidy = load()
