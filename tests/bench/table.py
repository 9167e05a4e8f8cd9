"""Tables as people read them: a column for each contestant, ours last, and ours as a ratio to the best rival and the shell."""

NAME, COLUMN = 40, 10


def head(title, names):
    print(f"\n{title:<{NAME}}" + "".join(f"{name:>{COLUMN}}" for name in names) + f"{'x rival':>{COLUMN}}{'x shell':>{COLUMN}}")


def line(name, values, ours="ours"):
    """`values` by contestant; what is none was not measured. Without a hook there is nothing added: it stands in brackets."""
    cells = [cell(who, value) for who, value in values.items()]
    rivals = [value for who, value in values.items() if who in ("prek", "lefthook") and value]
    ratios = [ratio(values[ours], min(rivals, default=None)), ratio(values[ours], values.get("shell"))]
    print(f"{name:<{NAME}}" + "".join(f"{cell:>{COLUMN}}" for cell in cells + ratios), flush=True)


def cell(who, value):
    if value is None:
        return "-"
    return f"({value:.1f})" if who == "no hook" else f"{value:.1f}"


def ratio(ours, other):
    return f"x{ours / other:.2f}" if ours and other and other > 0 else "-"
