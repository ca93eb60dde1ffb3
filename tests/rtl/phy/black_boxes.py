"""Primitives of FPGAs as front ends need them: their ports and parameters, and nothing behind."""

import re

__all__ = ["black_boxes"]


def black_boxes(text):
    """Modules for all that the text has instances of and does not define. Outputs are 0, or what
    becomes of the parameters, so that none is unused."""
    found = {}
    cell = r"^ +(\w+) (?:#\((.*?)\n +\) )?\w+ \(\n(.*?)\n +\);"
    for name, parameters, ports in re.findall(cell, text, re.M | re.S):
        if f"module {name}(" not in text:
            box = found.setdefault(name, ({}, {}))
            for names, those in zip(box, (parameters, ports)):
                names |= dict.fromkeys(re.findall(r"\.(\w+)\(", those))
    outputs, both = {"Q", "Q1", "Q2", "O", "OB"}, {"IO", "IOB"}
    boxes = []
    for name, (parameters, ports) in found.items():
        kinds = [
            f"{'inout' if p in both else 'output' if p in outputs else 'input'} wire {p}"
            for p in ports
        ]
        head = f" #({', '.join(f'parameter {p} = 0' for p in parameters)})" if parameters else ""
        value = " & ".join(f"({p} == 0)" for p in parameters) or "1'b0"
        drivers = "".join(f"  assign {p} = {value};\n" for p in ports if p in outputs)
        boxes.append(f"module {name}{head} ({', '.join(kinds)});\n{drivers}endmodule\n")
    return "\n" + "\n".join(boxes)
