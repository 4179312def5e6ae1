"""What every worker needs, imported and loaded once, by the process that is forked for each of them.

Only importing this does so, since that is all that multiprocessing's fork server does. Nothing here may start a thread
or encode: a forked process has one thread, and would wait for the others.
"""

import numpy as np

from vocabopt.growth import counter as counter
from vocabopt.growth import walk_kernel

# The first kernel makes numba load all that it knows of types, which takes as long as all imports.
walk_kernel.fill_table(np.zeros((0, 4), np.int64), np.zeros(16, np.int64), np.zeros(16, np.int32))
