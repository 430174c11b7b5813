"""The commands of `python -m cheblienet`, one module each: `add_parser(commands)` declares one."""
