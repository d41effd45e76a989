"""Figures as Markdown."""

from . import records, signals


def table(headings, rows):
    """The first column is text, the others are numbers."""
    lines = [headings, ["---"] + ["---:"] * (len(headings) - 1), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def number(value, digits=0):
    return "" if value is None else f"{value:.{digits}f}"


def levels(values, digits):
    """The figures of all levels in one cell."""
    return " / ".join(number(value, digits) for value in values.values())


def stated(of):
    return " / ".join(str(snr) for snr in of)


def learned_from():
    """Records that are no test."""
    return {*records.TRAIN, *records.VALIDATION}


def ecg(arguments, names):
    """A section for each kind of noise."""
    for kind in ("white", "recorded"):
        rows, seconds = signals.timed(
            signals.ecg,
            arguments.data,
            kind,
            names,
            arguments.draws,
            arguments.seed,
            arguments.steps,
            arguments.cache,
            arguments.long,
        )
        f1 = signals.clean_f1(arguments.data, names)
        text = f"## ECG, {kind} noise: records {', '.join(names)}\n\n"
        text += f"{arguments.draws} draws a record; F1 {f1:.3f} without noise; "
        text += f"{seconds:.0f} s.\n\n"
        headings = ["method", "bytes", "MAC", f"gain, dB at {stated(signals.ECG_LEVELS)} dB"]
        headings += ["PRD, % at the same", f"F1 at {stated(signals.BEATS_AT)} dB"]
        text += table(headings, map(ecg_cells, rows))
        text += "\nGain at 0 dB, by record:\n\n"
        by_record = lambda row: [number(row.by_record[0][name], 2) for name in names]
        yield text + table(["method", *names], [[r.method.name, *by_record(r)] for r in rows])


def ecg_cells(row):
    method = row.method
    cells = [method.name, number(method.bytes), number(method.products), levels(row.gains, 2)]
    return cells + [levels(row.prds, 1), levels(row.shares, 3)]


def old(arguments):
    """One section for all of the old signals."""
    columns, seconds = [], 0.0
    for which in signals.OLD:
        rows, taken = signals.timed(
            signals.old,
            arguments.data,
            which,
            2,
            arguments.seed,
            arguments.steps,
            arguments.cache,
        )
        columns.append(rows)
        seconds += taken
    text = "## Old signals, white noise\n\n"
    text += f"2 draws, gain in dB at {stated(signals.OLD_LEVELS)} dB; {seconds:.0f} s.\n\n"
    lines = []
    for row in zip(*columns):
        method = row[0].method
        cells = [method.name, number(method.bytes), number(method.products)]
        lines.append(cells + [levels(each.gains, 2) for each in row])
    yield text + table(["method", "bytes", "MAC", *signals.OLD], lines)


def pictures(arguments):
    """One section: PSNR and seconds at each deviation of the noise."""
    from . import pictures as of_pictures

    rows, seconds = signals.timed(of_pictures.measure, arguments.data, arguments.seed)
    text = f"## Pictures: {of_pictures.COUNT} of {of_pictures.SIDE} x {of_pictures.SIDE}\n\n"
    text += "PSNR in dB, and seconds of processor time a picture, at noise of deviation "
    text += f"{stated(of_pictures.SIGMAS)}; {seconds:.0f} s in all.\n\n"
    lines = [[row.name, levels(row.psnr, 2), levels(row.seconds, 2)] for row in rows]
    yield text + table(["method", "PSNR", "seconds"], lines)
