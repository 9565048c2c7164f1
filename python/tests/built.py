# SPDX-License-Identifier: BSD-2-Clause
"""Where what was built lies, and what a Python needs that loads it."""
import os

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get('WEFT_BUILD', os.path.join(ROOT, 'build'))
PACKAGE = os.path.join(BUILD, 'python')
PRELOAD = os.environ.pop('LD_PRELOAD', None)  # a sanitizer's runtime, which other programs than Python bring along


def environment(package=PACKAGE, **more):
    """For a Python of our own."""
    if PRELOAD:
        more['LD_PRELOAD'] = PRELOAD
    return dict(os.environ, PYTHONPATH=package, **more)
