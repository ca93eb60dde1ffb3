"""Registers in the Verilog of a component, each as one process.

Amaranth's Verilog has two processes for a register: one that works out its next value whenever
anything changes, and one that takes it over at the clock edge. Here they become the one that a
person would write::

    always @* begin                          always @(posedge clk) begin
      count_next = count;                      if (step) begin
      if (step) begin                            count <= n1[7:0];
        count_next = n1[7:0];                  end
      end                          --->        if (rst) begin
      if (rst) begin                             count <= 8'h00;
        count_next = 8'h00;                    end
      end                                    end
    end
    always @(posedge clk)
      count <= count_next;

A simulator keeps half as many signals and evaluates a register that holds its value at no cost.
"""

import re

__all__ = ["fold_registers"]

_TAKES_OVER = re.compile(r"^  always @\(posedge clk\)\n    (\w+) <= (\w+);\n", re.M)
_PROCESS = re.compile(
    r"^  always @\* begin\n    if \(always_start\) begin end\n((?:    .*\n)+)  end\n", re.M
)


def fold_registers(text):
    """A module with one process for each register.

    Parameters
    ----------
    text : str
        One module as `hls_attention.verilog_names` writes it.

    Returns
    -------
    str
        The same registers and the same values. A next value that is used elsewhere too stays.
    """
    registers = {following: register for register, following in _TAKES_OVER.findall(text)}
    uses = {}
    for name in re.findall(r"\w+", text):
        uses[name] = uses.get(name, 0) + 1
    folded = set()

    def fold(process):
        body = process[1]
        code = re.sub(r"\(\*.*?\*\)", "", body)  # without attributes
        targets = re.findall(r"\b(\w+)(?: ?\[[0-9:]+\])? = ", code)
        following = targets[0] if targets else None
        if (
            following not in registers
            or targets != [following] * code.count(" = ")
            or uses[following] != len(targets) + 2  # where it is declared, and where taken over
        ):
            return process[0]
        folded.add(following)
        register = registers[following]
        keeps = f"    {following} = {register};\n"
        body = body.removeprefix(keeps) if body != keeps else body
        body = re.sub(rf"\b{following}((?: ?\[[0-9:]+\])?) = ", rf"{register}\1 <= ", body)
        return f"  always @(posedge clk) begin\n{body}  end\n"

    text = _PROCESS.sub(fold, text)
    text = _TAKES_OVER.sub(lambda found: "" if found[2] in folded else found[0], text)
    text = re.sub(
        r"^  reg (?:\[[0-9:]+\] )?(\w+);\n",
        lambda found: "" if found[1] in folded else found[0],
        text,
        flags=re.M,
    )
    if text.count("always_start") == 1:
        text = text.replace("  reg always_start = 0;\n", "")
    return text
