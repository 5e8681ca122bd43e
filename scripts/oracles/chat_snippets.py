"""Snippets of templates for chat_golden.py: one construct each."""

import itertools

ARGUMENTS = {
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What is 2 + 2?"},
        {"role": "assistant", "content": "It is 4."},
    ],
    "tools": None,
    "documents": None,
    "add_generation_prompt": True,
    "bos_token": "<s>",
    "eos_token": "</s>",
    "s": "Hello, World",
    "u": "Grüße, Straße ΣΑΣ ﬁn ñ 日本語 🙂",
    "ws": "  \t one  two\nthree \u00a0\u2003",
    "i": 7,
    "neg": -7,
    "big": 123456789012345678901234567890,
    "f": 2.5,
    "whole": 2.0,
    "t": True,
    "n": None,
    "xs": [3, 1, 2],
    "words": ["pear", "Apple", "fig", "apple"],
    "empty": [],
    "d": {"b": 1, "a": [1, 2.0, None, True], "items": "mine", "x y": {"z": "<&>\"'"}},
    "rows": [
        {"k": "x", "v": 2, "n": {"m": 1}},
        {"k": "y", "v": 1, "n": {"m": 2}},
        {"k": "X", "v": 2},
    ],
    "html": "<b>&amp;</b>",
}

VALUES = [
    "i", "neg", "big", "f", "whole", "t", "n", "s", "''", "xs", "empty", "d", "missing",
    "0", "1e300", "'a'", "(1, 2)", "()", "'<'|e", "[1, 'a']", "{1: 2}", "-0.0", "false",
]  # fmt: skip

EXPRESSIONS = """
1 + 2 * 3 ** 2
2 ** 3 ** 2
-2 ** 2
(-2) ** 2
2 ** -1
0 ** -1
10 ** 30
7 // 2, -7 // 2, 7 // -2, -7 // -2
7 % 3, -7 % 3, 7 % -3, -7 % -3
7.5 // 2, -7.5 // 2, 7.5 % -2, -7.5 % 2
1 / 3, 4 / 2, 1 / 0.1
1 / 0
1 // 0
1 % 0
9223372036854775807 + 1, -9223372036854775808 - 1, 9223372036854775807 * 3
9223372036854775807 // -1, -9223372036854775808 // -1, big // 7, big % 7, big * big
big + 0.5, big / 3, -big // 7, -big % 7, big // -7, big % -7
big == 123456789012345678901234567890, big > 1e29, big < 1e31
0x1F, 0b101, 0o17, 1_000, 1_0.5_0, 1e5, 1E-5, 1.5e+3, 00
1e16, 1e15, 123456789012345680.0, 1e-4, 1e-5, 0.1 + 0.2, 1e22, 1e23, 5e-324
1.0, 100.0, -0.0, 3.14159, 2.50
true, false, none, True, False, None
not true, not 0, not '', not 'a', not none
1 and 2, 0 and 2, 1 or 2, 0 or '', none or 'x'
1 < 2 < 3, 1 < 3 < 2, 3 > 2 > 1, 1 == 1 == 1, 1 < 2 > 1 != 5
1 == 1.0, 1 == true, '1' == 1, none == false, none == none, [1] == [1], (1,) == [1]
{'a': 1, 'b': 2} == {'b': 2, 'a': 1}, [1, [2]] == [1, [2.0]], {1: 2} == {true: 2}
'a' < 'b', 'B' < 'a', [1, 2] < [1, 3], (1,) < (1, 2), [] < [0], 'é' > 'z'
'a' < 1
none < 1
[1] < (1,)
{} < {}
1 in xs, 4 in xs, 'ell' in s, '' in s, 'b' in d, 'z' in d, 1 not in xs, 'q' not in s
1 in s
[1] in d
1 in 5
2.0 in xs, true in xs, none in [none], 'x' in missing
'a' ~ 1 ~ none ~ 2.0 ~ true ~ missing ~ [1, 'b'] ~ {'k': 'v'} ~ (1,)
'a' + 'b'
'a' + 1
1 + 'a'
[1] + [2], (1,) + (2, 3)
[1] + (2,)
'ab' * 3, 3 * 'ab', [1] * 2, 2 * (1, 2), 'a' * 0, 'a' * -1, 'a' * true
'a' * 2.0
'%s is %d and %.2f' % ('x', 5, 2.345)
'%5d|%-5d|%05d|%+d|% d|%x|%X|%o|%#x|%c|%%' % (42, 42, 42, 42, 42, 255, 255, 8, 255, 'q')
'%e %E %g %G %.3g %10.3f|%-10.1f|%010.2f' % (12345.678, 0.00012, 1e-5, 1e20, 1234.5, 3.14159, 2.5, -3.14159)
'%(a)s-%(b)05.1f' % {'a': 1, 'b': 2.25}
'%s' % none, '%s' % [1, 'a'], '%r' % 'it', '%5s|%-5s|%.2s' % ('ab', 'ab', 'abcdef')
'%s %s' % ('a',)
'%s' % ('a', 'b')
'%d' % 'a'
'%d' % 3.99, '%i' % -3.99, '%x' % 10
'%q' % 1
'100%' % ()
'%s' % {}
'no' % {}
'no' % 1
'%*d' % (5, 42)
'%.*f' % (1, 2.55)
s[0], s[-1], s[1:4], s[::-1], s[::2], s[-3:], s[:-3], s[10:2], s[5:1:-1], s[99:], s[-99:3]
u[0], u[2], u[1:5], u[::-1], u[-1], u[-3:]
xs[0], xs[-1], xs[1:], xs[::-1], xs[5:], xs[:2:1], (1, 2, 3)[1:], (1, 2, 3)[::-2]
xs[99] is undefined, xs['0'] is undefined, s[99] is undefined, d['q'] is undefined
xs[1:2:0]
xs['a':]
n[1:]
missing[1:]
d[1:]
range(10)[2], range(10)[2:5], range(10)[::-3]|list, range(3), range(1, 10, 3), range(5)[-1]
xs.0, xs.1, rows.0.k, d.a.1
d.b, d['b'], d['x y'].z, d.items, d['items'], d.q is defined, d.a[1]
d.get('b'), d.get('q'), d.get('q', 5), d.keys()|list, d.values()|list
d.items()|list
dict(d).items()|list|length
d.keys(), d.values()
dict(a=1, b=2), dict({'x': 1}, y=2), dict([('p', 1), ('q', 2)])
dict.fromkeys('ab', 0), dict.fromkeys([1, 2])
{'a': 1, 'a': 2}, {1: 'x', 1.0: 'y', true: 'z'}, {none: 1}, {(1, 2): 3}
{[1]: 2}
{{}: 2}
{'a': 1,}, [1, 2,], (1,), (), (1, 2,), []
missing, missing|default('x'), missing|d('y'), none|default('z'), ''|default('z', true)
missing.attr
missing['item']
missing()
missing + 1
1 + missing
-missing
missing < 1
missing ~ 'x', missing == missing2, missing != 1, missing is none, missing|length, missing|list
missing or 'fallback', not missing, 'a' if missing else 'b'
d.q.r
d.q.r is defined
none.x is undefined, none.x
n.x.y
i.x is undefined
'a' if true, 'a' if false, ('a' if false) is undefined, 1 if 0 else 2 if 0 else 3
('a' if false).x
s.upper(), s.lower(), s.title(), s.capitalize(), s.swapcase(), u.upper(), u.lower(), u.title(), u.capitalize()
'oΣ'.lower(), 'ΑΣ ΑΣΑ Σ'.lower(), 'ǆ'.title(), 'ß'.upper(), 'ŉ'.capitalize(), 'İ'.lower(), "they're bill's".title()
ws.strip(), ws.lstrip(), ws.rstrip(), 'xxaxx'.strip('x'), 'abcba'.lstrip('ab'), 'abcba'.rstrip('ba'), s.strip(none)
'a,b,,c'.split(','), ' a  b '.split(), 'a b c'.split(' ', 1), 'a b  c'.split(none, 1), ''.split(), ''.split(','), ws.split()
'a--b--c'.split('--', 1), 'a--b--c'.rsplit('--', 1), ' a b  c '.rsplit(none, 1), 'aaa'.rsplit('aa'), 'abc'.split('')
' a  b  c '.split(maxsplit=1), 'a.b'.split(sep='.'), ' a b c '.rsplit(none, 2), '  a b'.rsplit(none, 0), '  a b '.split(none, 0)
'a\\nb\\r\\nc\\rd'.splitlines(), 'a\\nb\\n'.splitlines(true), ''.splitlines(), '\\n\\n'.splitlines()
s.startswith('Hell'), s.startswith(('x', 'H')), s.endswith('d'), s.endswith(('a', 'b')), s.startswith('e', 1), s.startswith('', 99), s.startswith('', 12), s.endswith('lo', 0, 5)
s.startswith(1)
s.startswith(['H'])
s.find('o'), s.find('o', 5), s.find('q'), s.rfind('o'), s.index('W'), s.count('l'), s.count(''), s.find('', 99), s.find('', 12), s.find('o', -5, -1), u.find('日'), s.count('l', 4), ''.count('')
s.index('q')
'a-b-c'.partition('-'), 'abc'.partition('-'), 'a-b-c'.rpartition('-'), 'abc'.rpartition('-')
s.replace('l', 'L'), s.replace('l', 'L', 1), s.replace('', '-'), s.replace('l', ''), s.replace('x', 'y'), s.replace('l', 'L', -1), 'ab'.replace('', '-', 2)
s.replace('a')
s.replace(1, 2)
', '.join(['a', 'b']), ''.join([]), '-'.join('abc'), '-'.join(d)
', '.join([1, 2])
'ab'.center(7), 'ab'.center(8), 'abc'.center(8), 'ab'.ljust(5), 'ab'.rjust(5), 'ab'.center(6, '*'), '42'.zfill(5), '-42'.zfill(5), '+1'.zfill(1), 'ab'.ljust(1)
'ab'.center(5, '**')
'a\\tb\\tc'.expandtabs(4), 'a\\tb'.expandtabs(), 'a\\tb'.expandtabs(0)
'prefix-x'.removeprefix('prefix-'), 'x.py'.removesuffix('.py'), 'abc'.removeprefix('z')
'abc'.isalpha(), 'ab1'.isalnum(), '12'.isdigit(), '²'.isdigit(), '½'.isnumeric(), ' '.isspace(), ''.isalpha(), 'Ab'.isupper(), 'AB1'.isupper(), 'ab'.islower(), 'Title Case'.istitle(), 'a1_'.isidentifier(), '1a'.isidentifier(), 'é'.isascii(), 'a'.isascii(), '٣'.isdecimal(), 'a\\n'.isprintable()
'{} {}'.format(1, 'a'), '{0}{1}{0}'.format('a', 'b'), '{x}-{y!r}'.format(x=1, y='q'), '{{}}'.format()
'{:>5}|{:<5}|{:^5}|{:05d}|{:+}|{:.2f}|{:,}|{:x}|{:#X}|{:b}|{:e}|{:%}|{:_}'.format('a', 'b', 'c', 42, 1, 2.345, 1234567, 255, 255, 5, 12.5, 0.256, 1234567)
'{:*^9}|{:.3}|{:10.3f}|{:<10,.1f}|{:g}|{:.2g}|{:n}'.format('mid', 'abcdef', 3.14159, 1234.56, 1e-7, 123.0, 5)
'{0.k} {0[v]} {1[0]}'.format(rows[0], xs)
'{:>{w}}'.format('x', w=4)
'{} {}'.format(1)
'{a}'.format(b=1)
'{'.format()
'}'.format()
'{0} {}'.format(1, 2)
'{:d}'.format('x')
'{:5}'.format(none)
'{} {:5} {!s:>6}'.format(none, true, none)
'{:.1f} {:.0f} {:.3} {:10} {}'.format(2, 2.5, 1234.5678, 2.5, 1e16)
'{:c}{:c}'.format(65, 8364)
'{:=+7d}|{:=7}|{: d}|{:-d}'.format(42, -42, 42, 42)
xs.index(1), xs.count(3), (1, 2, 1).count(1), (1, 2).index(2), xs.copy()
xs.index(9)
xs.append(4)
xs.sort()
d.update({})
d.pop('b')
d.clear()
xs.append is defined, d.update is defined, d['pop'] is defined, d.__class__ is defined, s.__len__ is defined
''.__class__.__mro__
s.__class__
xs.__len__()
d.nothing()
s()
i()
i.bit_length(), f.is_integer(), whole.is_integer(), i.real, f.imag
'a' 'b' "c", 'it\\'s', "q\\"q", '\\x41\\u00e9\\U0001F600\\101\\n|\\t|\\\\|\\q', 'a\\
b'
'\\x4'
'\\ud800'
'é\\é'
[1, 'a', none, true, 2.0, [], {}, (), (1,), {'a': [1]}, 'it\\'s', 'q"\\'', 'new\\nline\\t\\\\\\x00\\x7f\\u00a0é🙂\\u200b']
'<a>'|e ~ '<b>', '<a>'|e + '<b>', '<b>' + '<a>'|e, ('<a>'|e)|upper, ('<a>'|safe) + '&', 'a'|safe ~ '&', '<a>'|e|e, '<a>'|e|forceescape
['<a>'|e, 'b']|join('&'), ('%s'|safe) % '<', ('<'|safe).join(['>', 'a']), ('<'|safe).replace('<', '>'), ('{}'|safe).format('<'), ['x'|safe]
('a'|safe)[0], ('a'|safe) * 2, ('ab'|safe).split('b'), 'a'|safe == 'a', ('a'|safe) in ['a'], {'a': 1}['a'|safe], ('a' ~ ('b'|safe)) + '<', 'x'|e is escaped, 'x' is escaped
i|abs, neg|abs, -2.5|abs, (-2.5)|abs, true|abs
'a'|abs
'42'|int, '4.7'|int, 'x'|int, 'x'|int(5), '0x1f'|int(0, 16), '101'|int(base=2), 4.9|int, -4.9|int, true|int, none|int, ' 12 '|int, '1_000'|int, '--1'|int, '1e3'|int, xs|int, 'ff'|int(0, 16), '0b11'|int(0, 0)
missing|int
'4.5'|float, 'x'|float, 'x'|float(1.5), 3|float, 'inf'|float, '-Infinity'|float, 'nan'|float, '1_0.5'|float, none|float, '0x10'|float, '1e400'|float
2.5|round, 3.5|round, 2.567|round(2), 2.5|round(0, 'ceil'), 2.5|round(0, 'floor'), 5|round, 1234|round(-2), 1250|round(-2), 1234.5|round(-2), 2.675|round(2), -2.5|round, 0.15|round(1), 1e300|round(2), 42.55|round(1, 'floor'), 15|round(-1), 25|round(-1), 5|round(1, 'ceil')
2.5|round(0, 'x')
xs|length, s|length, u|length, d|length, ''|count, range(5)|length, d.keys()|length
5|length
none|length
xs|first, xs|last, s|first, s|last, empty|first, empty|last, d|first, d|last, range(3)|last
none|first
xs|sort, xs|sort(reverse=true), words|sort, words|sort(case_sensitive=true), rows|sort(attribute='v')|map(attribute='k')|list, rows|sort(attribute='v,k')|map(attribute='k')|join, rows|sort(true, attribute='v')|map(attribute='k')|join, d|sort, 'hello'|sort|join
[1, 'a']|sort
[none, 1]|sort
words|unique|list, words|unique(true)|list, rows|unique(attribute='v')|map(attribute='k')|list, [1, 1.0, true, '1']|unique|list
[[1]]|unique|list
xs|min, xs|max, words|min, words|max(case_sensitive=true), empty|min is undefined, rows|max(attribute='v'), s|max
xs|sum, [1.5, 2]|sum, rows|sum(attribute='v'), rows|sum('v', 10), empty|sum, [[1], [2]]|sum(start=[])
['a']|sum
xs|reverse|list, s|reverse, d|reverse|list, range(3)|reverse|list, u|reverse
5|reverse
xs|join, xs|join(', '), rows|join('-', attribute='k'), words|join(1), 'abc'|join('.'), d|join(','), [none, 1.0]|join('|')
5|join
xs|list, s|list, d|list, missing|list, range(3)|list, 'é🙂'|list
5|list
xs|map('string')|list, words|map('upper')|join(' '), rows|map(attribute='k')|list, rows|map(attribute='n.m')|list, rows|map(attribute='n.m', default=0)|list, rows|map(attribute='q', default='?')|list, ['1', '2']|map('int')|sum, words|map('replace', 'p', 'P')|list, [[1, 2], [3]]|map('sum')|list, xs|map('round', 1)|list
rows|map(attribute='q.r')|list
xs|map|list
xs|map('nofilter')|list
xs|map('nofilter') is defined
xs|map(attribute='a', foo=1)|list
xs|select('odd')|list, xs|reject('odd')|list, xs|select|list, [0, 1, '', none]|reject|list, rows|selectattr('v', 'eq', 2)|map(attribute='k')|list, rows|rejectattr('v', '>', 1)|map(attribute='k')|list, rows|selectattr('n')|list|length, rows|selectattr('n', 'defined')|list|length, words|select('in', ['fig', 'pear'])|list, xs|select('divisibleby', 3)|list
xs|select('notest')|list
rows|selectattr|list
d|dictsort|map('first')|list, {'B': 1, 'a': 2}|dictsort, {'B': 1, 'a': 2}|dictsort(true), {'x': 2, 'y': 1}|dictsort(by='value'), {'x': 2, 'y': 1}|dictsort(reverse=true)
xs|dictsort
{'a': 1}|items|list, missing|items|list
xs|items|list
rows|groupby('v')|map('first')|list, rows|groupby('k')|map(attribute='grouper')|list, rows|groupby('k', case_sensitive=true)|map(attribute='list')|map('length')|list, rows|groupby('n.m', default=0)|map('last')|map('length')|list
[1, 2, 3, 4, 5]|batch(2)|list, [1, 2, 3]|batch(2, 0)|list, [1, 2, 3, 4, 5]|slice(3)|list, [1, 2, 3, 4]|slice(3, 'x')|list, []|batch(2)|list
s|upper, s|lower, s|title, s|capitalize, 'foo-bar (baz) [q] {w} <e> o\\'neil ünïx'|title, u|upper, i|upper, none|title
ws|trim, 'xxaxx'|trim('x'), i|trim, '  '|trim|length
s|replace('l', 'L'), s|replace('l', 'L', 2), i|replace(7, 8), s|replace('', '-'), 'aaa'|replace('a', 'b', count=1)
'a\\nb\\n\\nc'|indent, 'a\\nb'|indent(2, true), 'a\\n\\nb'|indent(1, blank=true), 'a\\nb'|indent('> '), 'a\\nb\\n'|indent(2), ''|indent, 'a\\r\\nb'|indent(1)
5|indent
'one two three'|wordcount, ''|wordcount, 'a-b c_d é1'|wordcount
'foo bar baz'|truncate(9), 'foo bar baz'|truncate(9, true), 'foo bar'|truncate(9), 'foo bar baz qux'|truncate(11, false, '…'), 'foobarbazqux'|truncate(5, leeway=0)
'%s-%d'|format('a', 5), '%(x)s'|format(x=1), '%.1f%%'|format(99.55)
'%s'|format(1, a=2)
'abc'|center(9), 'abc'|center(2), i|center(3)
i|string, none|string, 2.0|string, xs|string, d|string, true|string, missing|string
html|e, html|escape, html|safe, html|forceescape, '\\'"'|e
rows[0]|attr('k') is undefined, s|attr('upper') is defined
d|tojson
d|tojson(indent=2)
d|tojson(indent=0)
d|tojson(separators=(',', ':')), d|tojson(sort_keys=true), u|tojson, u|tojson(ensure_ascii=true), d|tojson(indent='--')
[]|tojson, {}|tojson, [[]]|tojson(indent=2), [{}, []]|tojson(indent=1), none|tojson, true|tojson, 1.0|tojson, 1e22|tojson, big|tojson, (1, 2)|tojson, '\\x00\\x1f\\x7f\\u2028</script>'|tojson, {1: 2, none: 3, true: 4, 2.5: 5}|tojson, [1, 2]|tojson(indent=none), 'inf'|float|tojson, 'nan'|float|tojson
missing|tojson
range(3)|tojson
{(1, 2): 3}|tojson
{'a': 1, 2: 3}|tojson(sort_keys=true)
xs|map('string')|tojson
1 is odd, 2 is odd, 2 is even, 3 is even, -1 is odd, 9 is divisibleby 3, 9 is divisibleby(4), 2.0 is even
'a' is odd
s is defined, missing is defined, missing is undefined, none is none, 0 is none, missing is none, d.q is defined, d.b is defined
s is string, 1 is string, ('a'|safe) is string, none is string, 1 is number, 1.5 is number, true is number, '1' is number, 1 is integer, true is integer, 1.0 is integer, 1.0 is float, 1 is float, big is integer
true is boolean, 1 is boolean, true is true, 1 is true, false is false, 0 is false, none is false
d is mapping, xs is mapping, xs is sequence, s is sequence, d is sequence, 1 is sequence, missing is sequence, range(2) is sequence, (1,) is sequence, none is sequence, d.keys() is sequence
xs is iterable, s is iterable, d is iterable, 1 is iterable, missing is iterable, xs|map('string') is iterable, none is iterable, range is iterable
s.upper is callable, range is callable, 1 is callable, missing is callable, namespace() is callable, dict is callable
'abc' is lower, 'ABC' is upper, 'Abc' is lower, '1' is upper, 'aß' is lower
1 is eq 1, 1 is equalto 2, 1 is ne 2, 1 is lt 2, 1 is gt 2, 1 is le 1, 1 is ge 2, 1 is lessthan 2, 2 is greaterthan 1, 1 is sameas 1, none is sameas none, true is sameas 1, 1 is in xs, 9 is in xs, 1 is not in xs, 'e' is in 'hello'
1 is not odd, 1 is not none, not 1 is odd, 1 is odd and 2 is even, 1 is odd or false
1 is odd is even
1 is nosuchtest
1|nosuchfilter
'upper' is filter, 'nosuch' is filter, 'odd' is test, 'nosuch' is test
1 if true else 2|nosuchfilter
(1|nosuchfilter) if false else 2
2 if true else (1 is nosuchtest)
range(3)|list, range(2, 5)|list, range(5, 0, -2)|list, range(0), range(0)|list, 3 in range(5), 3 in range(0, 5, 2), range(3) == range(0, 3), range(1000)|sum, range(10, 0, -3)[1]
range(100001)
range(100000)|length
range()
range(1, 2, 0)
range('a')
range(1.5)
cycler('a', 'b').next(), cycler('a').current, joiner()()|length
cycler()
namespace(a=1).a, namespace(a=1)['a'], namespace().x is undefined, namespace({'q': 2}).q
namespace(_a=1)
strftime_now('%Y-%m-%d %H:%M:%S'), strftime_now('%d %b %Y'), strftime_now('%A, %B %d, %j %y %p %I %a %-d %e %U %W %u %w %V %G %f %% %D %F %T %R'), strftime_now('%q %')
raise_exception('stop')
messages[0].role, messages[0]['content'], messages|length, messages[-1].content, messages[1:]|map(attribute='role')|join(','), messages|selectattr('role', 'equalto', 'user')|list|length
messages|map(attribute='content')|map('upper')|list|last
(messages|last).role, (messages|first)['role'], messages|rejectattr('role', 'eq', 'system')|map(attribute='role')|list
loop is defined, caller is defined, varargs is defined, nosuch is defined
s.split(',')[0], s.split(', ')[-1].upper(), (s.split(',')|last).strip(), s.split('</think>')[-1].lstrip('\\n')
-i, +i, - - i, -f, not not i
-s
+s
-none
i if i > 5 else neg, (i, neg)|max, [i, neg]|sort|first
{'a': i}.a, {'a': {'b': [1, {'c': 'deep'}]}}.a.b[1].c, [[1, 2], [3]][0][1]
s | upper | lower | title, s|replace('o', '0')|upper~'!', s~'!'|upper
f(*xs)
range(*[1, 4])|list, dict(**{'a': 1, 'b': 2}), range(*(0, 6), **{})|list, dict(a=1, **{'b': 2})
dict(a=1, **{'a': 2})
range(**{'x': 1})
dict(**5)
range(*5)
dict(1, 2)
dict([1])
""".strip("\n").split("\n")

STATEMENTS = r"""
{% if true %}a{% endif %}
a
{% if true %}
b
{% endif %}
c
---
  {% if true %}  
  x
  {%- endif %}  
y
---
  {%+ if true %}x{%+ endif %}
y
---
a {{- ' b ' -}} c
---
a   {#- comment -#}   b {# another #} c
---
{# first #}
text
   {# indented #}   
more
---
{%- if true -%}
   trimmed
{%- endif -%}
---
{% if false %}a{% elif 1 == 1 %}b{% else %}c{% endif %}
---
{% if none %}a{% elif '' %}b{% elif missing %}q{% else %}c{% endif %}
---
{% for x in xs %}{{ x }}{% if not loop.last %}, {% endif %}{% endfor %}
---
{% for x in xs %}{{ loop.index }}/{{ loop.index0 }}/{{ loop.revindex }}/{{ loop.revindex0 }}/{{ loop.length }}/{{ loop.first }}/{{ loop.last }};{% endfor %}
---
{% for x in xs %}{{ loop.previtem|default('-') }}{{ x }}{{ loop.nextitem|default('-') }};{% endfor %}
---
{% for x in xs %}{{ loop.cycle('a', 'b') }}{% endfor %}
---
{% for x in [1, 1, 2, 2, 1] %}{{ loop.changed(x) }},{% endfor %}
---
{% for x in [] %}a{% else %}none{% endfor %}
---
{% for x in missing %}a{% else %}none{% endfor %}
---
{% for x in none %}a{% endfor %}
---
{% for x in 5 %}a{% endfor %}
---
{% for k, v in d.items() %}{{ k }}{% endfor %}
---
{% for k, v in {'a': 1, 'b': 2}.items() %}{{ k }}={{ v }};{% endfor %}
---
{% for k in {'a': 1, 'b': 2} %}{{ k }}{% endfor %}
---
{% for a, b in [(1, 2), [3, 4], 'xy'] %}{{ a }}{{ b }} {% endfor %}
---
{% for a, (b, c) in [(1, (2, 3))] %}{{ a }}{{ b }}{{ c }}{% endfor %}
---
{% for a, b in [(1, 2, 3)] %}{{ a }}{% endfor %}
---
{% for a, b in [(1,)] %}{{ a }}{% endfor %}
---
{% for x in xs if x > 1 %}{{ loop.index }}:{{ x }}/{{ loop.length }} {% endfor %}
---
{% for x in xs if x > 9 %}{{ x }}{% else %}nothing{% endfor %}
---
{% for x in range(10) %}{% if x == 3 %}{% continue %}{% endif %}{% if x > 5 %}{% break %}{% endif %}{{ x }}{% endfor %}
---
{% for x in xs %}{% break %}{% else %}else{% endfor %}
---
{% for x in xs %}{% continue %}{% else %}else{% endfor %}
---
{% for x in xs %}{% if loop.first %}{% continue %}{% endif %}{{ x }}{% else %}else{% endfor %}
---
{% for x in xs %}{% for y in xs %}{% if y == 1 %}{% break %}{% endif %}{{ x }}{{ y }} {% endfor %}{% endfor %}
---
{% for x in xs %}{% set z = x %}{% endfor %}{{ z is defined }}
---
{% set z = 0 %}{% for x in xs %}{% set z = z + x %}{{ z }},{% endfor %}{{ z }}
---
{% set ns = namespace(z=0) %}{% for x in xs %}{% set ns.z = ns.z + x %}{% endfor %}{{ ns.z }}
---
{% set ns = namespace() %}{% set ns.a, ns.b = 1, 2 %}{{ ns.a }}{{ ns.b }}{{ ns }}
---
{% set d.b = 5 %}
---
{% set nosuch.b = 5 %}
---
{% set ns = namespace() %}{% set ns._x = 5 %}
---
{% set a, b = 1, 2 %}{{ a }}{{ b }}
---
{% set a, b = 'xy' %}{{ a }}{{ b }}
---
{% set a = 1, 2 %}{{ a }}
---
{% set a %}x{{ 1 + 1 }}y{% endset %}[{{ a }}]{{ a is string }}
---
{% set a | upper %}x{{ 1 + 1 }}y{% endset %}[{{ a }}]
---
{% set a | replace('x', 'z') | upper %}xy{% endset %}{{ a }}
---
{% set messages %}{{ messages|length }}{% endset %}{{ messages }}
---
{% set m2 %}{{ messages|length }}{% endset %}{{ m2 }}
---
{% if true %}{% set z = 1 %}{% endif %}{{ z }}
---
{% if false %}{% set s = 1 %}{% endif %}{{ s }}
---
{% if false %}{% set s %}q{% endset %}{% else %}{{ s }}{% endif %}{{ s }}
---
{% with a = 1, b = 2 %}{{ a }}{{ b }}{% set a = 5 %}{{ a }}{% endwith %}{{ a is defined }}
---
{% set a = 1 %}{% with a = 2, b = a %}{{ a }}{{ b }}{% endwith %}{{ a }}
---
{% with %}{% set q = 1 %}{{ q }}{% endwith %}{{ q is defined }}
---
{% with a, b = (1, 2) %}{{ a }}{{ b }}{% endwith %}
---
{% macro m(a, b='x') %}[{{ a }}{{ b }}]{% endmacro %}{{ m(1) }}{{ m(1, 2) }}{{ m(b=3, a=4) }}{{ m() }}
---
{% macro m(a) %}{{ a is defined }}{{ a }}{% endmacro %}{{ m() }}{{ m(none) }}
---
{% macro m(a, b=a) %}{{ a }}{{ b }}{% endmacro %}{{ m(1) }}
---
{% macro m(a=b, b=2) %}{{ a }}|{{ b }}{% endmacro %}{{ m() }}{{ m(b=5) }}
---
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}
---
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(c=2) }}
---
{% macro m(a) %}{{ a }}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, 3, z=4) }}
---
{% macro m() %}{{ caller() }}!{% endmacro %}{% call m() %}body{% endcall %}
---
{% macro m(x) %}{{ caller(x, 2) }}!{% endmacro %}{% call(a, b=9) m(1) %}{{ a }}{{ b }}{% endcall %}
---
{% macro m() %}x{% endmacro %}{% call m() %}body{% endcall %}
---
{% macro m() %}{{ caller() }}{% endmacro %}{{ m() }}
---
{% macro m() %}{% if caller %}y{% else %}n{% endif %}{% endmacro %}{{ m() }}{% call m() %}{% endcall %}
---
{% macro m(caller) %}{{ caller() }}{% endmacro %}
---
{% macro fact(n) %}{% if n <= 1 %}1{% else %}{{ n * (fact(n - 1)|int) }}{% endif %}{% endmacro %}{{ fact(10) }}
---
{% macro m() %}{{ z }}{% endmacro %}{% set z = 1 %}{{ m() }}{% set z = 2 %}{{ m() }}
---
{% macro m() %}{{ s }}{% endmacro %}{{ m() }}{% set s = 'changed' %}{{ m() }}
---
{% macro m() %}{% set z = 5 %}{{ z }}{% endmacro %}{% set z = 1 %}{{ m() }}{{ z }}
---
{% macro m() %}{{ z }}{% set z = 5 %}{{ z }}{% endmacro %}{% set z = 1 %}{{ m() }}{{ z }}
---
{% macro m(a) %}x{% endmacro %}{{ m.name }}{{ m.arguments }}{{ m.catch_kwargs }}{{ m.caller }}{{ m }}
---
{% macro a() %}A{% endmacro %}{% macro b() %}{{ a() }}B{% endmacro %}{{ b() }}{{ b()|length }}{{ b() ~ '!' }}
---
{% for x in xs %}{% macro m() %}{{ x }}{% endmacro %}{{ m() }}{% endfor %}{{ m is defined }}
---
{% if true %}{% macro m() %}x{% endmacro %}{% endif %}{{ m() }}
---
{% macro m() %}
line
  {% if true %}
  inner
  {% endif %}
{% endmacro %}
[{{ m() }}]
---
{% filter upper %}abc {{ s }}{% endfilter %}
---
{% filter replace('a', 'b') | upper %}aaa{% endfilter %}
---
{% for x in xs %}{% filter upper %}{% if x == 1 %}{% break %}{% endif %}a{{ x }}{% endfilter %}{% endfor %}
---
{% for x in xs %}{% set q %}{% if x == 1 %}{% continue %}{% endif %}a{{ x }}{% endset %}{{ q }}{% endfor %}
---
{% raw %}{{ not }} {% if %} {# x #}{% endraw %}!
---
  {%- raw -%}  {{ x }}  {%- endraw -%}  !
---
{% raw %}
a
{% endraw %}
b
---
{% generation %}gen {{ s }}{% endgeneration %}
after
---
{% generation %}{% set q = 1 %}{% endgeneration %}{{ q is defined }}
---
{% for x in xs %}{% generation %}{{ loop.index }}{{ x }}{% endgeneration %}{% endfor %}
---
{% for x in xs %}{% generation %}{% break %}{% endgeneration %}{% endfor %}
---
{% for x in [1, [2, [3]]] recursive %}{% if x is iterable %}({{ loop(x) }}){% else %}{{ x }}@{{ loop.depth }}{% endif %}{% endfor %}
---
{% for x in xs %}{{ loop(xs) }}{% endfor %}
---
{% print 1, 'a' %}{% print s %}
---
{{ 1, 2 }}{{ (1) }}{{ 'a', }}
---
{% set x = [] %}{% set x = x + [1] %}{% set x = x + [2] %}{{ x }}
---
{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.next() }}{{ c.current }}{{ c.reset() }}{{ c.next() }}
---
{% set j = joiner('; ') %}{% for x in xs %}{{ j() }}{{ x }}{% endfor %}
---
{% set g = xs|map('string') %}{{ g|join }}|{{ g|join }}
---
{% for x in xs|map('string') %}{{ x }}{{ loop.last }}{{ loop.length }}{% endfor %}
---
{% for x in xs|map('string') %}{{ x }}{{ loop.revindex }}{% endfor %}
---
{% for c in u %}{{ c }}.{% endfor %}
---
{% for x in xs|reverse %}{{ x }}{% endfor %}{% for x in xs[::-1] %}{{ loop.index0 }}{{ x }}{% endfor %}
---
{% for a, b in rows|groupby('v') %}{{ a }}:{{ b|length }};{% endfor %}
---
{% for x in range(3) %}{% if loop.index is divisibleby 2 %}e{% else %}o{% endif %}{% endfor %}
---
{% include 'x' %}
---
{% import 'x' as y %}
---
{% from 'x' import y %}
---
{% extends 'x' %}
---
{% nosuch %}
---
{% if true %}a
---
{% for x in xs %}a{% endif %}
---
{% endif %}
---
{% else %}
---
{% break %}
---
{% macro m() %}{% break %}{% endmacro %}
---
{% for x in xs %}{% macro m() %}{% continue %}{% endmacro %}{% endfor %}
---
{{ 1 + }}
---
{{ }}
---
{{ (1 }}
---
{{ 1) }}
---
{{ [1, 2) }}
---
{{ 'abc }}
---
{{ a b }}
---
{{ 1 2 }}
---
{% set 1 = 2 %}
---
{% set true = 2 %}
---
{% set a.b.c = 2 %}
---
{% set a[0] = 2 %}
---
{% set x %}a
---
{% for loop in xs %}{{ loop.index }}{% endfor %}
---
{% for x in xs %}{% set loop = 1 %}{{ loop }}{% endfor %}
---
{# unclosed
---
{% raw %}unclosed
---
{{ x
---
a } b }} c %} d #} e { f
---
{% if 1 %}{{ '}}' }}{{ '%}' }}{{ "{{" }}{% endif %}
---
{{ {'a': {'b': 1}}['a']['b'] }}{{ {'a': 1}}}
---
line one
{{ 'x' }}
line three

---
x{%- set a = 1 -%}  y  {%- set b = 2 %}
z
---
{% set a = 1 +%}
z
---
{% if true +%}
z
{% endif +%}
q
---
   {{ 'no strip' }}   
   {% set a = 1 %}   
tail
---
	{% set tab = 1 %}
a	{% set tab = 1 %}
b
---
{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ m.role }}{% endif %}{% endfor %}
---
{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}
---
{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}{{ add_generation_prompt }}
---
{% if not date is defined %}{% set date = strftime_now('%d %b') %}{% endif %}{{ date }}
---
{% set ns = namespace(found=false) %}{% for m in messages[::-1] %}{% set i = messages|length - 1 - loop.index0 %}{% if not ns.found and m.role == 'user' %}{% set ns.found = true %}{{ i }}{% endif %}{% endfor %}
---
{{ raise_exception('no') if messages|length > 99 else 'ok' }}
---
{% if messages[0].role == 'tool' %}{{ 1|nosuchfilter }}{% endif %}ok
---
{% if false %}{% for x in xs %}{{ x|nosuchfilter }}{% endfor %}{% endif %}
---
{% for x in [] %}{{ x|nosuchfilter }}{% endfor %}
---
{% if true %}{{ 1|nosuchfilter }}{% endif %}
---
{% for k, v in d|dictsort %}{{ k }},{% endfor %}{% for k, v in d|items %}{{ k }},{% endfor %}
---
{% set x = namespace(a=namespace(b=1)) %}{{ x.a.b }}{% set y = x.a %}{% set y.b = 2 %}{{ x.a.b }}
---
{% macro m(a, a) %}{% endmacro %}
---
{% macro m(a=1, b) %}{% endmacro %}
---
{% call 5 %}{% endcall %}
---
{% set t = (1, 2) %}{% set a, b = t %}{{ a ~ b }}
---
{%if true%}tight{%endif%}{{'x'}}{%-if true-%} t {%-endif-%}
---
{% set x = {'a': 1, 'b': [1, 2]} %}{{ x.b[-1] }}{{ x['a'] }}{{ x|length }}
---
{% for x in xs -%}
  {{ x }}
{%- endfor %}
---
{% for x in xs %}
{{ x }}
{% endfor %}
---
{% for x in xs -%}
{{ x }},
{% endfor -%}
end
---
{{ caller }}{{ loop }}
---
{% for x in xs %}{{ loop }}{% endfor %}
---
{% if x is defined and x.y %}a{% else %}b{% endif %}
---
{{ s[:3] ~ '…' if s|length > 3 else s }}
---
{% set content = messages[0].content if messages[0].content is string else '' %}{{ content }}
---
{% if tools %}t{% elif tools is none %}none{% endif %}{{ documents is none }}
---
{% with messages = messages[1:] %}{{ messages|length }}{% endwith %}{{ messages|length }}
---
{% set messages = messages[1:] %}{{ messages|length }}{% for messages in messages %}{{ messages.role }}{% endfor %}
---
{% macro show(v) %}{% if v is mapping %}{{ '{' }}{% for k, x in v.items() %}{{ k }}:{{ show(x) }},{% endfor %}{{ '}' }}{% elif v is sequence and v is not string %}[{% for x in v %}{{ show(x) }},{% endfor %}]{% else %}{{ v }}{% endif %}{% endmacro %}{{ show({'a': [1, {'b': 'c'}], 'd': 2.0}) }}
""".strip("\n").split("\n---\n")


def snippets():
    """All sources, each once."""
    out = ["{{ " + e + " }}" for e in EXPRESSIONS]
    out += STATEMENTS
    out.append("{{ 'a\\\nb' }}")
    for op, (a, b) in itertools.product(
        ["+", "-", "*", "/", "//", "%", "**", "==", "<", "in", "~", "and"],
        itertools.product(VALUES, VALUES),
    ):
        # Python would compute all digits of a power of big, and Jinja compiles
        # (-0.0) ** x to Python's -0.0 ** x, which is -(0.0 ** x).
        if op != "**" or b != "big" and a != "-0.0":
            out.append("{{ " + f"({a}) {op} ({b})" + " }}")
    for test in ["string", "number", "integer", "float", "boolean", "mapping", "sequence",
                 "iterable", "none", "defined", "true", "callable", "odd", "lower", "escaped"]:  # fmt: skip
        out.append("{{ [" + ", ".join(f"({v}) is {test}" for v in VALUES if not (test == "odd" and v not in ("i", "neg", "big", "0"))) + "] }}")
    for f in ["length", "string", "list", "int", "float", "abs", "upper", "trim", "first", "last", "tojson", "default('q')",
              "join('-')", "sum", "sort", "unique|list", "reverse|list", "title", "wordcount", "e", "safe", "round", "min",
              "tojson(indent=1)", "replace('a', 'b')", "indent", "capitalize", "select|list", "map('string')|list", "items|list", "center(9)", "batch(2)|list", "dictsort"]:  # fmt: skip
        for v in VALUES:
            out.append("{{ (" + v + ")|" + f + " }}")
    for m in ["x.upper()", "x.get('a')", "x['a']", "x[0]", "x.a", "x[1:]", "-x", "not x", "x if x else 0",
              "x.split()", "x.strip()", "x.items()|list", "'%s|%r' % (x, x)", "'{}'.format(x)", "'{:>6}'.format(x)",
              "'%5.1f' % x", "'%03d' % x", "[x]", "{x: 1}", "x ~ ''", "x == x", "x is sameas x", "x in [x]", "x.count(1)"]:  # fmt: skip
        for v in VALUES:
            out.append("{% set x = (" + v + ") %}{{ " + m + " }}")
    return list(dict.fromkeys(out))
