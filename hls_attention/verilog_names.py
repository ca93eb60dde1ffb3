"""Names in the Verilog of a component: those of its signature, at every level of the hierarchy.

Amaranth works out the ports of a submodule from the wires that cross its border. Wires of several
members may come out as one port with a number for a name, and a member whose name is already taken
gets a number behind it. Here

- a port is a member of the component's signature, named by its path (``i__payload``), in the order
  of the signature; of a member of which only part crosses the border, that part
  (``o_products__0__47_12``); a member that carries the same wires as one before it is left out;
- outside, it is called by its instance and that path (``queue__i__payload``);
- a module is called by the path of its instance (``channel_engine_front``), instances by their own
  names; equal modules are written once, under the name of their class (`assemble`);
- no name needs escaping.

The design itself is untouched: the same cells between the same wires. Amaranth has no public place
for any of this; what is used of it is private to 0.5, which `pyproject.toml` pins.
"""

import re
import textwrap
from itertools import groupby

from amaranth.back import rtlil
from amaranth.back import verilog as amaranth_verilog
from amaranth.hdl import Fragment, Module, Signal, Value
from amaranth.hdl._ast import SignalDict
from amaranth.hdl._ir import build_netlist
from amaranth.hdl._nir import ModuleNetFlow
from amaranth.hdl._nir import Value as NetValue
from amaranth.lib import wiring

from .verilog_registers import fold_registers

__all__ = ["assemble", "convert", "split_modules"]


def convert(component, name, ports, platform=None):
    """Verilog of a component, a module for every component in it.

    Parameters
    ----------
    component : wiring.Component
    name : str
        Name of its module; those within begin with it and an underscore.
    ports : dict of str to (Value, PortDirection)
    platform : object, optional
        Passed to ``elaborate``.

    Returns
    -------
    text : str
        The modules, each behind a comment with the first line of its class's docstring.
    """
    fragment = Fragment.get(component, platform)
    design = fragment.prepare(ports=ports, hierarchy=(name,))
    _name_signals(design)
    netlist = build_netlist(design, name=name)
    components = {info.name: _component(part) for part, info in design.fragments.items()}
    for module in netlist.modules:
        _name_ports(module, netlist, components[module.name])

    # What rtlil.convert_fragment() does with a netlist; it offers no place to change one.
    builder = rtlil.Design(emit_src=False)
    empty = rtlil.EmptyModuleChecker(netlist)
    for index, module in enumerate(netlist.modules):
        if not empty.is_empty(index):
            part = builder.module(".".join(module.name), src_loc=None)
            rtlil.ModuleEmitter(part, netlist, module, SignalDict(), empty_checker=empty).emit()
    text = amaranth_verilog._convert_rtlil_text(str(builder), strip_internal_attrs=True)

    comments = {"_".join(info.name): _comment(part) for part, info in design.fragments.items()}
    modules = split_modules(text)
    return "\n".join(
        comments.get(name, "") + _clean(body, modules) for name, body in modules.items()
    )


def split_modules(text):
    """Modules of a Verilog text that this project wrote: name -> text, comments before it included.

    Names are those that `convert` gives, whether the text has been through it yet or not.
    """
    modules = {}
    for body in re.findall(r"(?:^//[^\n]*\n)*^module .*?^endmodule\n", text, re.M | re.S):
        name = _plain(re.search(r"^module (\\\S+|\w+)", body, re.M)[1])
        if name in modules:
            raise ValueError(f"two modules come out as {name!r}: rename an instance")
        modules[name] = body
    return modules


def assemble(texts, fixed=()):
    """One text of many: modules that are equal but for their names are written once.

    Parameters
    ----------
    texts : iterable of str
        Verilog as `convert` writes it.
    fixed : collection of str
        Modules that keep their names and are never merged.

    Returns
    -------
    str
        A merged module is called by its class, as its comment names it, with a number behind it if
        there are several of that class.
    """
    modules = split_modules("\n".join(texts))
    taken = set(modules)
    while renamed := _equal_modules(modules, fixed, taken):
        known = re.compile(rf"^(module |  )({'|'.join(renamed)})(?=[ (])", re.M)
        modules = {
            renamed.get(name, name): known.sub(lambda found: found[1] + renamed[found[2]], text)
            for name, text in modules.items()
        }
    return _HEADER.sub(_wrap_header, "\n".join(modules.values()))


def _equal_modules(modules, fixed, taken):
    """New names of modules whose texts are equal: those that instantiate equal ones come later."""
    alike = {}
    for name, text in modules.items():
        if name not in fixed:
            alike.setdefault(text.replace(f"\nmodule {name}(", "\nmodule (", 1), []).append(name)
    renamed = {}
    for text, names in alike.items():
        if len(names) > 1:
            new = _unique(_snake(re.match(r"// (\w+)", text)[1]), taken)
            renamed |= dict.fromkeys(names, new)
    return renamed


def _component(fragment):
    origins = fragment.origins or ()
    return next((origin for origin in origins if isinstance(origin, wiring.Component)), None)


def _members(component):
    """Members of a component that are signals: (name, signal)."""
    if component is not None:
        for path, _, value in component.signature.flatten(component):
            value = Value.cast(value)
            if isinstance(value, Signal) and len(value):
                yield "__".join(map(str, path)), value


def _name_signals(design):
    """Decide what signals and instances are called in each module: the first claim has the name."""
    for fragment, info in design.fragments.items():
        taken = set()
        if info.parent is None:
            ports = [(name, value) for name, value, _ in design.ports]
        else:
            domains = fragment.domains.values()
            ports = [("clk", domain.clk) for domain in domains]
            ports += [("rst", domain.rst) for domain in domains if domain.rst is not None]
            ports += _members(_component(fragment))
        info.signal_names.clear()
        _claim(info, ports, taken)
        for part, name, _ in fragment.subfragments:
            if name is not None:
                design.fragments[part].name = (*info.name, _unique(name, taken))
        for part, _, _ in fragment.subfragments:
            instance = design.fragments[part].name[-1]
            members = _members(_component(part))
            _claim(info, ((f"{instance}__{name}", signal) for name, signal in members), taken)
        _claim(info, ((signal.name, signal) for signal in info.used_signals), taken)


def _claim(info, claims, taken):
    for name, signal in claims:
        if isinstance(signal, Signal) and signal.name and signal in info.used_signals:
            if signal not in info.signal_names:
                info.signal_names[signal] = _unique(name, taken)


def _unique(name, taken):
    """The name, or the name with the first free number behind it, which is then taken."""
    candidate, number = name, 1
    while candidate in taken:
        number += 1
        candidate = f"{name}_{number}"
    taken.add(candidate)
    return candidate


def _name_ports(module, netlist, component):
    """Divide the wires that cross a module's border into ports along its signature."""
    if module.parent is None:
        order = ["clk", "rst", *(name for name, _ in _members(component))]
        names = sorted(module.ports, key=lambda name: (order + [name]).index(name))
        module.ports = {name: module.ports[name] for name in names}
        return
    named = [(name, netlist.signals[signal]) for signal, name in module.signal_names.items()]
    clocks = [(name, value) for name, value in named if name in ("clk", "rst")]
    own = [
        (module.signal_names[signal], netlist.signals[signal])
        for _, signal in _members(component)
        if signal in module.signal_names
    ]
    left = {net: flow for net, flow in module.net_flow.items() if flow != ModuleNetFlow.Internal}
    module.ports, taken = {}, set(module.signal_names.values())
    for name, value in (*clocks, *own, *named):
        for start, nets in _runs(value, left):
            whole = len(nets) == len(value)
            bits = f"{start + len(nets) - 1}_{start}" if len(nets) > 1 else f"{start}"
            port = name if whole else _unique(f"{name}__{bits}", taken)
            module.ports[port] = (NetValue(nets), left[nets[0]])
            for net in nets:
                del left[net]
    for net in sorted(left):  # of no signal that this module knows
        port = _unique(f"wire_{net.cell}_{net.bit}", taken)
        module.ports[port] = (NetValue([net]), left[net])


def _runs(value, flows):
    """Stretches of a value's wires that cross the border one way: (first bit, wires)."""
    seen = set()

    def kind(bit):
        net = value[bit]
        if net.is_const or net not in flows or net in seen:
            return None
        seen.add(net)
        return flows[net]

    for flow, bits in groupby(range(len(value)), key=kind):
        bits = list(bits)
        if flow is not None:
            yield bits[0], [value[bit] for bit in bits]


def _comment(fragment):
    """What a module is: its class, and the first line of what the class says of itself."""
    for origin in fragment.origins or ():
        if not isinstance(origin, Module):
            lines = (type(origin).__doc__ or "").strip().splitlines() or [""]
            return f"// {type(origin).__name__}: {lines[0]}\n"
    return ""


def _snake(name):
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def _plain(name):
    """An identifier without escaping: ``\\a.b[3]`` is a_b_3, a keyword gets an underscore."""
    if not name.startswith("\\"):
        return name
    plain = re.sub(r"\W+", "_", name[1:]).strip("_")
    return f"{plain}_" if plain == name[1:] else plain


def _clean(text, modules):
    """A module without escaped names, in short lines, without the enumeration behind each wire."""
    text = re.sub(r"^ *\(\* enum_\w+ = .*\*\)\n", "", text, flags=re.M)
    text = re.sub(r"^  wire \[-1:0\] \S+ ?;\n", "", text, flags=re.M)  # signals of no bits
    text = _complete_cases(text)
    registers = {new: old for old, new in re.findall(r"^ +(\w+) <= (\\\$\d+) ;$", text, re.M)}
    taken = set(re.findall(r"(?<![\w\\$.])[A-Za-z_]\w*", text))
    names = {}
    for name in dict.fromkeys(re.findall(r"\\\S+(?= )", text)):
        plain = _plain(name)
        if plain in modules or plain == f"{name[1:]}_":  # other modules must call it the same
            names[name] = plain
        elif re.fullmatch(r"\\\$\d+", name):
            new = f"{registers[name]}_next" if name in registers else f"n{plain}"
            names[name] = _unique(new, taken)
        else:
            names[name] = _unique("always_start" if "dump_module" in name else plain, taken)
    text = re.sub(r"(\\\S+) ", lambda found: names[found[1]], text)
    return fold_registers(_HEADER.sub(_sort_header, text))


def _complete_cases(text):
    """Every case has a default: where yosys wrote none, nothing changes, and that is now said."""
    lines, cases = [], []
    for line in text.splitlines(keepends=True):
        if re.match(r" +casez? \(", line):
            cases.append("full_case" in lines[-1])
        elif re.match(r" +default:", line):
            cases[-1] = True
        elif re.match(r" +endcase$", line) and not cases.pop():
            lines.append(line.replace("endcase", "  default: ;"))
        lines.append(line)
    return "".join(lines)


_HEADER = re.compile(r"^(module \w+)\(([\w\s,]*)\);", re.M)


def _sort_header(found):
    """Clock and reset first: yosys puts a module's first port last."""
    ports = re.findall(r"\w+", found[2])
    first = ("clk", "aclk", "rst", "aresetn")
    ports.sort(key=lambda port: first.index(port) if port in first else len(first))
    return f"{found[1]}({', '.join(ports)});"


def _wrap_header(found):
    return textwrap.fill(found[0], 100, subsequent_indent="    ", break_long_words=False)
