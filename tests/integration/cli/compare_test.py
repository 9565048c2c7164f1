# SPDX-License-Identifier: BSD-2-Clause
"""weft bench --compare and --plot: ratios, the verdict, a drawing of what was measured."""
import copy
import json
import math
import xml.etree.ElementTree

import pytest

RESULT = {'device': 'x', 'rw': 'randread', 'bs': 4096, 'depth': 32, 'queues': 1, 'connections': 1, 'rate': 0, 'errors': 0,
          'mismatches': 0, 'iops': 100000.0, 'latency_ns': {'p50': 1000, 'p90': 2000, 'p99': 4000, 'p999': 8000, 'max': 9000},
          'histogram_ns': [[1023, 900], [4095, 99], [9215, 1]], 'cpu_us_per_request': 2.0, 'server_cpu_us_per_request': 0.0}


@pytest.fixture
def compare(weft, folder):
    """compare({'iops': 90000}, ...) -> the Result of RESULT against RESULT with these differences"""
    def changed(changes):
        result = copy.deepcopy(RESULT)
        for key, value in changes.items():
            group, _, name = key.rpartition('.')
            (result[group] if group else result)[name] = value
        return result

    def run(changes, *options, before=()):
        for name, result in (('a.json', changed(dict(before))), ('b.json', changed(changes))):
            with open(f'{folder}/{name}', 'w', encoding='utf-8') as file:
                json.dump(result, file)
        return weft('bench', '--compare', 'a.json', 'b.json', *options)
    return run


@pytest.mark.parametrize('changes, options, worse', [
    ({}, (), False),
    ({'iops': 96000.0}, (), False),
    ({'iops': 94000.0}, (), True),
    ({'iops': 94000.0}, ('--tolerance', '10%'), False),
    ({'iops': 120000.0}, (), False),
    ({'iops': 99999.0}, ('--tolerance', '0'), True),
    ({'latency_ns.p50': 1040}, (), False),
    ({'latency_ns.p50': 1060}, (), True),
    ({'latency_ns.p90': 2200}, (), True),
    ({'latency_ns.p99': 4300}, (), True),
    ({'latency_ns.p999': 80000, 'latency_ns.max': 900000}, (), False),
    ({'cpu_us_per_request': 2.2}, (), True),
    ({'server_cpu_us_per_request': 1.0}, (), True),
    ({'errors': 1}, (), True),
    ({'mismatches': 3}, (), True),
])
def test_the_status_says_whether_it_is_worse(compare, changes, options, worse):
    done = compare(changes, *options)
    assert done.status == (1 if worse else 0) and done.err == ''
    assert ('worse' in done.out) == worse
    told = json.loads(compare(changes, '--json', *options).out)
    assert told['worse'] == worse and any(row['worse'] for row in told['measures']) == worse


def test_ratios_are_of_the_second_to_the_first(compare):
    rows = {row['measure']: row for row in json.loads(compare({'iops': 50000.0}, '--json').out)['measures']}
    assert rows['requests per s']['ratio'] == 0.5 and rows['p50']['ratio'] == 1
    assert 'requests per s          100.0 k       50.0 k    0.500  worse' in compare({'iops': 50000.0}).out


def test_a_ratio_that_no_number_holds_hides_no_row(compare):
    """Longer than any clock counts, next to nothing before."""
    changes = {'latency_ns.p50': 1e300, 'iops': 1e300}
    smallest = {'iops': 5e-324}
    rows = {row['measure']: row for row in json.loads(compare(changes, '--json', before=smallest).out)['measures']}
    assert rows['requests per s']['ratio'] is None and rows['requests per s']['b'] == 1e300 and rows['p50']['worse']
    done = compare(changes, before=smallest)
    assert done.status == 1 and done.err == '' and done.out.count('\n') == 8


@pytest.mark.parametrize('changes, part', [
    ({'depth': 16}, "differ in 'depth'"), ({'rw': 'write'}, "differ in 'rw'"),
    ({'iops': 'many'}, "'iops' is missing, or no number"),
    ({'iops': -1}, "'iops'"), ({'latency_ns': 7}, "'p50' is missing"),
])
def test_what_cannot_be_compared_is_refused(compare, changes, part):
    done = compare(changes)
    assert done.status == 2 and part in done.err and done.err.count('\n') == 1


def test_what_is_no_result_is_refused(weft, folder):
    with open(f'{folder}/a.json', 'w', encoding='utf-8') as file:
        file.write('[1, 2')
    for files, part in ((('a.json', 'a.json'), "'a.json' is no result"), (('none', 'none'), 'no such file none'),
                        (('a.json',), 'argument is missing')):
        done = weft('bench', '--compare', *files)
        assert done.status in (1, 2) and part in done.err, done.err


# ---- the drawing ----

def curves(path):
    """-> [[(x, y)]] of an SVG, and its texts"""
    root = xml.etree.ElementTree.parse(path).getroot()
    name = '{http://www.w3.org/2000/svg}'
    lines = [[tuple(map(float, point.split(','))) for point in line.get('points').split()] for line in root.iter(f'{name}polyline')]
    return lines, [text.text for text in root.iter(f'{name}text')]


def test_a_curve_goes_through_the_percentiles(compare, folder):
    """900 of 1000 took 1023 ns at most: the curve is at 90 % there; 999 took 4095, which is 99.9 %."""
    assert compare({'histogram_ns': [[1023, 500], [1000000, 500]]}, '--plot', 'both.svg').status == 0
    (first, second), texts = curves(f'{folder}/both.svg')
    assert {'90 %', '99 %', '99.9 %', '1.00 us', '1.00 ms', 'a.json', 'b.json'} <= set(texts)
    left, right, bottom = 80, 830, 400
    nines = [(x - left) / (right - left) * 3 for x, _ in first]
    assert [round(n, 2) for n in nines] == [0, 1, 1, 3, 3, 3]
    heights = [bottom - y for _, y in first]
    assert heights == sorted(heights)
    decade = (heights[2] - heights[1]) / math.log10(4095 / 1023)
    assert abs((second[-1][1] - second[0][1]) + decade * math.log10(1048575 / 1023)) < 3


def test_a_measurement_is_drawn(weft, folder):
    done = weft('bench', 'delay:[mem:1MiB],read=50us', '--amount', '1MiB', '--time', '0', '--depth', '4', '--plot',
                'run.svg', '--json')
    assert done.status == 0, done.err
    told = json.loads(done.out)
    assert sum(count for _, count in told['histogram_ns']) == told['requests'] == 256
    (points,), texts = curves(f'{folder}/run.svg')
    assert len(points) >= 2 and 'delay:[mem:1MiB],read=50us' in texts


def test_a_name_is_no_markup(weft, folder):
    assert weft('bench', "slice:[mem:1MiB,name=a],name='<b>&'", '--plot', 'x.svg').status == 2
    assert weft('bench', 'mem:1MiB', '--amount', '4KiB', '--time', '0', '--plot', 'none/x.svg').status == 1
    with open(f'{folder}/a<&>.json', 'w', encoding='utf-8') as file:
        json.dump(RESULT, file)
    assert weft('bench', '--compare', 'a<&>.json', 'a<&>.json', '--plot', 'x.svg').status == 0
    assert curves(f'{folder}/x.svg')[1][-1] == 'a<&>.json'
