#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""The three modes of the server under Poisson arrivals: what they cost and how long requests take.

For each device and rate: CPU share of the server and the 99th percentile in poll, notify and adaptive mode. Writes
docs/adaptive-DEVICE.svg and docs/adaptive.json, and appends a table to bench/RESULTS.md. The initiator polls, so that
what is seen is the server's.
"""
import argparse
import json
import math
import os
import tempfile

from common import MIB, ROOT, Server, append, conditions, fill, median, WEFT

MODES = {'poll': '#777777', 'notify': '#cc7a00', 'adaptive': '#0060c0'}
WIDTH, HEIGHT, LEFT, TOP, PLOT_W, PLOT_H = 860, 360, 60, 40, 340, 250


# ---- measuring ----

def measure(options, device, rates):
    """-> {mode: [(rate, reached, cpu share, p99 ns, p50 ns)]}"""
    found = {}
    for repeat in range(options.repeats):
        for rate in rates:
            for mode in MODES:
                command = [WEFT, 'serve', device, '--on', 'vhost-user:{socket}', '--mode', mode, '--cpus', '0',
                           '--log', 'error']
                with Server(command) as server:
                    run = server.bench('--rw', 'randread', '--bs', '4KiB', '--depth', 256, '--rate', rate, '--arrivals', 'poisson',
                                       '--time', f'{options.seconds}s', '--mode', 'poll', '--cpus', '1', options=',depth=256')
                found.setdefault((mode, rate), []).append((run['iops'], run['server_cpu_ns'] / run['seconds'] / 1e9,
                                                           run['latency_ns']['p99'], run['latency_ns']['p50']))
                print(f'{repeat + 1}/{options.repeats} {device.split(":")[0]:5} {rate:8} per s {mode:9} '
                      f'{found[mode, rate][-1][1] * 100:6.2f} % CPU, p99 {run["latency_ns"]["p99"] / 1e3:9.1f} us', flush=True)
    return {mode: [(rate, *(median(column) for column in zip(*found[mode, rate]))) for rate in rates] for mode in MODES}


# ---- drawing ----

class Plot:
    """One set of axes, the horizontal one logarithmic."""

    def __init__(self, x, title, rates, low, high, log):
        self.x, self.rates, self.low, self.high, self.log = x, rates, low, high, log
        self.parts = [f'<rect x="{x}" y="{TOP}" width="{PLOT_W}" height="{PLOT_H}" fill="none" stroke="#bbb"/>',
                      f'<text x="{x + PLOT_W / 2}" y="{TOP - 14}" text-anchor="middle" font-weight="bold">{title}</text>']
        for rate in rates:
            if math.log10(rate) == int(math.log10(rate)):
                power = int(math.log10(rate))
                self.parts.append(f'<text x="{self.at_x(rate):.1f}" y="{TOP + PLOT_H + 18}" text-anchor="middle">10'
                                  f'<tspan dy="-5" font-size="9">{power}</tspan></text>')
        self.parts.append(f'<text x="{x + PLOT_W / 2}" y="{TOP + PLOT_H + 38}" text-anchor="middle">requests per second</text>')

    def at_x(self, rate):
        first, last = math.log10(self.rates[0]), math.log10(self.rates[-1])
        return self.x + PLOT_W * (math.log10(rate) - first) / (last - first)

    def at_y(self, value):
        low, high = self.low, self.high
        if self.log:
            value, low, high = math.log10(max(value, self.low)), math.log10(low), math.log10(high)
        return TOP + PLOT_H * (1 - (value - low) / (high - low))

    def scale(self, values, text):
        for value in values:
            y = self.at_y(value)
            self.parts.append(f'<line x1="{self.x}" x2="{self.x + PLOT_W}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e4e4e4"/>'
                              f'<text x="{self.x - 6}" y="{y + 4:.1f}" text-anchor="end">{text(value)}</text>')

    def line(self, points, colour, dots=False):
        path = ' '.join(f'{self.at_x(x):.1f},{self.at_y(y):.1f}' for x, y in points)
        style = 'stroke-width="1" stroke-dasharray="4 4"' if dots else 'stroke-width="2"'
        self.parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" {style}/>')
        self.parts += [f'<circle cx="{self.at_x(x):.1f}" cy="{self.at_y(y):.1f}" r="3" fill="{colour}"/>' for x, y in points]


def svg(path, name, curves, rates):
    seen = [max(point[i] / 1e3, 0.1) for curve in curves.values() for point in curve for i in (3, 4)]
    low, high = 10 ** math.floor(math.log10(min(seen))), 10 ** math.ceil(math.log10(max(seen)))
    cpu = Plot(LEFT, 'CPU of the server', rates, 0, 1.1, False)
    cpu.scale([0, 0.25, 0.5, 0.75, 1], lambda v: f'{v * 100:.0f} %')
    late = Plot(LEFT + PLOT_W + 90, '99th percentile (dashed: median)', rates, low, high, True)
    late.scale([10 ** n for n in range(round(math.log10(low)), round(math.log10(high)) + 1)],
               lambda v: f'{v:g} us' if v < 1000 else f'{v / 1000:g} ms')
    legend = []
    for i, (mode, colour) in enumerate(MODES.items()):
        cpu.line([(point[0], point[2]) for point in curves[mode]], colour)
        late.line([(point[0], point[3] / 1e3) for point in curves[mode]], colour)
        late.line([(point[0], point[4] / 1e3) for point in curves[mode]], colour, dots=True)
        legend.append(f'<circle cx="{LEFT + 110 * i + 6}" cy="{HEIGHT - 12}" r="4" fill="{colour}"/>'
                      f'<text x="{LEFT + 110 * i + 16}" y="{HEIGHT - 8}">{mode}</text>')
    legend.append(f'<text x="{WIDTH - 14}" y="{HEIGHT - 8}" text-anchor="end" fill="#666">{name}, 4 KiB random reads, '
                  'Poisson arrivals</text>')
    with open(path, 'w', encoding='utf-8') as f:
        f.write(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">\n'
                '<rect width="100%" height="100%" fill="#fff"/>\n' + '\n'.join(cpu.parts + late.parts + legend) + '\n</svg>\n')


def table(name, curves, rates):
    """`over`: adaptive to the better of the two others, CPU and p99; the aim is at most 1.2."""
    lines = [f'| {name}, per s | ' + ' | '.join(f'{m} CPU % | p50 us | p99 us' for m in MODES) + ' | CPU over | p99 over |',
             '| ---: ' * (3 * len(MODES) + 3) + '|']
    for i, rate in enumerate(rates):
        points = {mode: curves[mode][i] for mode in MODES}
        cells = ' | '.join(f'{points[m][2] * 100:.2f} | {points[m][4] / 1e3:.1f} | {points[m][3] / 1e3:.1f}' for m in MODES)
        over = [points['adaptive'][k] / max(min(points['poll'][k], points['notify'][k]), 1e-9) for k in (2, 3)]
        lines.append(f'| {rate} | {cells} | {over[0]:.2f} | {over[1]:.2f} |')
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--rates', default='100,316,1000,3162,10000,31623,100000,316228,1000000',
                        type=lambda t: [int(n) for n in t.split(',')])
    parser.add_argument('--devices', default='null,file', type=lambda t: t.split(','))
    parser.add_argument('--repeats', default=3, type=int)
    parser.add_argument('--seconds', default=3, type=int, help='of each run')
    parser.add_argument('--folder', default=ROOT, help='where the file on a disk is made')
    parser.add_argument('--docs', default=os.path.join(ROOT, 'docs'), help='where the curves go')
    parser.add_argument('--results', default=os.path.join(ROOT, 'bench/RESULTS.md'),
                        help='appended to; empty: standard output only')
    options = parser.parse_args()
    lines = ['', '## Modes of the server', '', *conditions(), f'- {options.repeats} repeats of {options.seconds} s, medians; '
             'server on processor 0, initiator polling on processor 1']
    data = {}
    with tempfile.NamedTemporaryFile(prefix='weft-bench-', suffix='.img', dir=options.folder) as image:
        if 'file' in options.devices:
            fill(image.name, 1024 * MIB)
        for name, device in (('null', 'null:1GiB'), ('file', f'file:{image.name}')):
            if name not in options.devices:
                continue
            rates = [rate for rate in options.rates if name == 'null' or rate <= 31623]  # what a disk can do
            data[name] = measure(options, device, rates)
            svg(os.path.join(options.docs, f'adaptive-{name}.svg'), name, data[name], rates)
            lines += ['', *table(name, data[name], rates)]
    with open(os.path.join(options.docs, 'adaptive.json'), 'w', encoding='utf-8') as f:
        json.dump(data, f, indent=1)
    print('\n'.join(lines))
    if options.results:
        append(options.results, lines)


if __name__ == '__main__':
    main()
