"""How many machine instructions a kernel executes, from the PTX instructions that a simulator executed.

PTX says more than the machine does: a bfloat16 that is widened, multiplied and added is 41 PTX instructions a gather where
the machine code has 18. What a kernel spends its time in is one loop, so the ratio of the two is taken there: of all
innermost loops of a kernel, in PTX and in machine code (SASS), the one with the most loads. The compiler may unroll a loop
once more on the way from one to the other, so both are counted per load, of which it neither adds nor drops any. Executed
PTX instructions times that ratio are then the executed machine instructions, as nearly as the rest of the kernel, which is
executed once, does not matter. A kernel without such a loop takes the ratio of all its instructions.
"""

import re
from bisect import bisect_left
from dataclasses import dataclass
from pathlib import Path

from .compiler import cuobjdump

SASS_LINE = re.compile(r"^\s+/\*([0-9a-f]{4,})\*/\s+(@!?U?P\w+\s+)?(\w[\w.]*)([^;]*);")
PTX_LINE = re.compile(r"^\s*(@!?%p\d+\s+)?([a-z][\w.:]*)([^;]*);")
PTX_ENTRY = re.compile(r"\.entry\s+(\w+)\(")


@dataclass(frozen=True)
class Instruction:
    place: int
    name: str
    conditional: bool
    target: int | None  # of a branch

    def loads(self, memory: str) -> bool:
        """Whether it reads "global" or "shared" memory into registers."""
        return self.name.startswith({"global": ("LDG.", "ld.global"), "shared": ("LDS", "ld.shared")}[memory])


def machine_code(binary: Path, arch: str) -> dict[str, list[Instruction]]:
    """The instructions of every kernel in a compiled module, by mangled name."""
    found: dict[str, list[Instruction]] = {}
    for line in cuobjdump("-sass", "-arch", arch, str(binary)).splitlines():
        if "Function :" in line:
            body = found.setdefault(line.split(":")[1].strip(), [])
        elif match := SASS_LINE.match(line):
            place, predicate, name, rest = match.groups()
            # BRA.DIV is taken where lanes of a warp have parted before a shuffle, which none do here.
            branches = name.startswith("BRA") and not name.startswith("BRA.DIV")
            goal = re.search(r"0x([0-9a-f]+)", rest) if branches else None
            if name != "NOP":
                body.append(
                    Instruction(int(place, 16), name, predicate is not None, int(goal[1], 16) if goal else None)
                )
    return found


def ptx_code(text: str) -> dict[str, list[Instruction]]:
    """The same of PTX."""
    found: dict[str, list[Instruction]] = {}
    for part in re.split(r"(?=\.entry\s)", text)[1:]:
        lines, labels, body = part.splitlines(), {}, []
        for place, line in enumerate(lines):
            if match := re.match(r"^(\$\w+):", line):
                labels[match[1]] = place
        for place, line in enumerate(lines):
            if match := PTX_LINE.match(line):
                predicate, name, rest = match.groups()
                goal = re.search(r"\$\w+", rest) if name.startswith("bra") else None
                body.append(Instruction(place, name, predicate is not None, labels[goal[0]] if goal else None))
        entry = PTX_ENTRY.match(part)
        if entry:
            found[entry[1]] = body
    return found


def _successors(code: list[Instruction]) -> list[list[int]]:
    places = [i.place for i in code]
    following = []
    for n, i in enumerate(code):
        ends = i.target is not None or i.name.split(".")[0] in ("EXIT", "ret", "exit")
        after = [] if ends and not i.conditional else [n + 1]
        if i.target is not None:
            after.append(bisect_left(places, i.target))
        following.append([n for n in after if n < len(code)])
    return following


def loops(code: list[Instruction]) -> list[set[int]]:
    """The natural loops of a kernel, as the numbers of their instructions: for every branch back to an instruction that
    all ways to the branch lead through, what lies on the ways from there to the branch."""
    after = _successors(code)
    before: list[list[int]] = [[] for _ in code]
    waiting = [0]  # from the first instruction on, so that what nothing leads to is left out
    reached = {0}
    while waiting:
        n = waiting.pop()
        for m in after[n]:
            before[m].append(n)
            if m not in reached:
                reached.add(m)
                waiting.append(m)
    everything = (1 << len(code)) - 1  # sets of instructions, as bits
    dominators, changed = [1, *[everything] * (len(code) - 1)], True
    while changed:
        changed = False
        for n in sorted(reached)[1:]:
            through = everything
            for m in before[n]:
                through &= dominators[m]
            through |= 1 << n
            changed |= through != dominators[n]
            dominators[n] = through
    found: dict[int, set[int]] = {}
    for n in reached:
        for head in (m for m in after[n] if dominators[n] >> m & 1):
            body, waiting = found.setdefault(head, {head}), [n]
            while waiting:
                m = waiting.pop()
                if m not in body:
                    body.add(m)
                    waiting += before[m]
    return list(found.values())


def hot_loop(code: list[Instruction], memory: str) -> list[Instruction]:
    """The innermost loop with the most loads from `memory`, or nothing where no loop has any."""
    bodies = loops(code)
    inner = [[code[n] for n in sorted(body)] for body in bodies if not any(other < body for other in bodies)]
    best = max(inner, key=lambda body: sum(i.loads(memory) for i in body), default=[])
    return best if any(i.loads(memory) for i in best) else []


def per_ptx_instruction(sass: list[Instruction], ptx: list[Instruction], memory: str) -> float:
    """Machine instructions for each PTX instruction of a kernel that loads mostly from `memory`."""
    loops = hot_loop(sass, memory), hot_loop(ptx, memory)
    if not all(loops):
        return len(sass) / len(ptx)
    machine, intermediate = (len(loop) / sum(i.loads(memory) for i in loop) for loop in loops)
    return machine / intermediate
