"""The files by which a test tells a broken worker what is to happen.

BREAKS holds a line for each break: a step, the how-manieth pass of it since the process began, and `kill` or `stop`. A
process that reaches the first line takes it off and sends itself SIGKILL or SIGSTOP. A process that stops leaves its id
in STOPPED. While FULL exists, the database takes no page more.
"""

STEPS = ("claimed", "read", "saving", "committed", "acknowledged")
BREAKS = "breaks"
STOPPED = "stopped"
FULL = "full"
