# SPDX-License-Identifier: BSD-2-Clause
"""Where what was built lies."""
import os

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get('WEFT_BUILD', os.path.join(ROOT, 'build'))
PACKAGE = os.path.join(BUILD, 'python')
