"""`python -m edge_worker` is `edge-worker`."""

import sys

from edge_worker.cli import main

sys.exit(main())
