"""Expressions, each of them printed."""

EXPRESSIONS = r"""
1
-1
007
0
0x1F
0b101
0o17
1_000
1.5e3
1e-7
1.0
1e16
123456789012345680.0
0.1 + 0.2
'a' 'b'
'a\nb\t\\\'\"'
"\x41\u00e9\U0001F600\101\q\é"
"\N{BULLET}"
'\xZZ'
'\u12'
true
True
false
none
None
[1, 'a', none, true, 1.0]
(1,)
()
(1, 2)
1, 2
{'a': 1, 'b': [1, {'c': none}]}
{}
{1: 2, true: 3, 1.0: 4}
{[1]: 2}
{'a': 1, 'a': 2}
["it's", 'say "x"', 'both \' "']
q
[q]
[uni, html]
i + 1
i - 10
i * 3
i / 2
i // 2
i % 4
i ** 2
neg // 2
neg % 4
neg / 2
7 // -2
7 % -2
7.5 // 2
-7.5 // 2
7.5 % -2
-7.5 % 2
0.0 // 1
-0.0 // 1
5 % 0
5 / 0
5 // 0
5.0 / 0
5.5 % 0.0
0 ** -1
2 ** -1
2 ** 0.5
(-8) ** 2
-2 ** 2
2 ** 3 ** 2
big
big + 0.0
big == 9007199254740992.0
big > 9007199254740992.0
huge * 1e10
huge * huge
-huge * huge
huge * huge - huge * huge
+i
-f
--i
+t
-t
-s
+s
-nil
not i
not e
not not s
t + t
t * 3
f + i
s + 1
1 + s
s + nil
s * 2
2 * s
s * -1
l * 2
l + [4]
l + (4,)
(1,) + (2,)
l - l
d + d
'%s-%d' % ('a', 5)
'%05.1f|%-5s|%5s|%+d|% d|%x|%X|%#x|%o|%e|%g|%G|%c|%%' % (1.25, 'a', 'b', 3, 4, 255, 255, 255, 8, 12345.678, 0.00001, 1e20, 65)
'%s' % l
'%s %s' % l
'%s' % (l,)
'%s' % nil
'%s' % d
'%(a)s %(b)d' % d
'%(zz)s' % d
'%d' % 'a'
'%d' % 3.99
'%d' % nil
'%i %u' % (1, 2)
'%r %a' % ('é', 'x')
'%.2s|%5.1s' % ('abc', 'xyz')
'%*d' % (5, 3)
'%.3d' % 5
'%05d' % -3
'%s'
'abc' % ()
'abc' % 1
'abc' % l
'abc' % d
'%' % 1
'%z' % 1
'%s %s' % ('a',)
'%s' % ('a', 'b')
'%s' % undef
i ~ s ~ nil ~ f ~ l
undef ~ 'x'
'a' ~ 1 + 2
1 < 2 < 3
1 < 2 > 1
3 > 2 > 2
1 == 1.0
1 == true
'1' == 1
nil == false
l == [3, 1, 2]
l == (3, 1, 2)
d == {'a': [1, 2], 'b': 1, 'C': none}
d != d
undef == undef
undef == nil
undef != 1
'a' < 'b'
'a' < 'B'
'é' > 'z'
'a' < 1
nil < nil
[1, 2] < [1, 3]
[1, 2] < [1, 2, 0]
[1, 'a'] < [1, 2]
(1, 2) <= (1, 2)
[] < [1]
{} < {}
l <= l
undef < 1
1 in l
9 in l
1.0 in l
'ell' in s
'' in s
1 in s
nil in mixed
[1] in mixed
'a' in d
[1] in d
'x' not in d
'x' in undef
undef in l
undef in s
1 in i
not 1 in l
'a' in 'abc' in ['abc']
i and s
e and s
e or s
nil or zero or e
zero or undef
s if t else e
s if no
(s if no) is defined
1 if no else 2 if no else 3
1 if t else 2 if no else 3
a.b.c
undef.x
undef['x']
undef
undef()
undef + 1
undef | upper
undef | length
undef | list
undef | default('x')
d.a
d['a']
d.zz
d.zz.y
d['zz']
d.b
d.get('a')
d.get('zz')
d.get('zz', 5)
d.get(key='a')
d.get()
d.get([1])
d[[1]]
d.keys()
d.values()
d.items()
d.keys() | list
d.items() | list
d.items()[0]
d.items() | length
d.keys() | first
d.keys() | last
'a' in d.keys()
1 in d.values()
('b', 1) in d.items()
d.keys() == {'C': 1, 'a': 2, 'b': 3}.keys()
d.items() == d.items()
d.values() == d.values()
d.copy() == d
ed.keys()
method['items']
method.update is defined
method.__class__
method['__class__']
method._x
method.update
d.update is defined
d.pop
d.update({})
d.clear()
l.append(4)
l.append is defined
l.sort
l.index(1)
l.index(9)
l.count(1)
l.copy()
(1, 2).index(2)
(1, 1).count(1)
(1, 2).copy
l.zz
l['zz']
l[0]
l[-1]
l[5]
l[-4]
l['0']
l[1.0]
l[true]
l.0
l.1.real
nested.1.1.1
nested[1][1][1]
s[0]
s[-1]
s[99]
uni[2]
uni[6:9]
uni[::-1]
uni | length
uni | reverse
s[1:3]
s[:-1]
s[::2]
s[::-1]
s[5:1:-1]
s[:]
s[::0]
s['a':]
s[nil:3]
s[1.0:]
s[undef:]
l[1:]
l[:2]
l[::-1]
l[-2:]
l[10:]
l[-10:10:2]
(1, 2, 3)[1:]
d[1:2]
i[0]
i.zz
i.real
f.zz
t.numerator
nil.x
nil['x']
s.zz
s.upper()
s.lower()
s.title()
"they're bill's-x 3rd".title()
s.capitalize()
s.swapcase()
sharp.upper()
sharp.title()
sharp.capitalize()
sharp.swapcase()
sigma.lower()
sigma | lower
sigma.title()
sigma.capitalize()
'ὈΔΥΣΣΕΎΣ'.lower()
'Σ'.lower()
'İ'.lower() | length
'ŉ'.upper()
sp.strip()
sp.lstrip()
sp.rstrip()
sp.strip(' x')
'xxabcxx'.strip('x')
'xyabcyx'.strip('xy')
'éaé'.strip('é')
'\u2003a\u3000'.strip()
sp.strip(none)
sp.strip(1)
'a,b,,c'.split(',')
'a,b,,c'.split(',', 1)
'a,b,,c'.rsplit(',', 1)
' a  b c '.split()
' a  b c '.split(none, 1)
' a  b c '.rsplit(none, 1)
' a  b c '.split(maxsplit=1)
'a--b'.split(sep='--')
'abc'.split('')
''.split()
''.split(',')
'a\nb\r\nc\rd\x0be\u2028f\n'.splitlines()
lines.splitlines()
lines.splitlines(true)
lines.splitlines(keepends=true)
''.splitlines()
s.startswith('He')
s.startswith(('X', 'He'))
s.startswith('lo', 3)
s.endswith('ld')
s.endswith('lo', 0, 5)
s.startswith('')
s.startswith(1)
s.replace('l', 'L')
s.replace('l', 'L', 1)
s.replace('', '-')
'abé'.replace('', '-')
''.replace('', 'x')
s.replace('zz', 'y')
s.replace('l', 'L', -1)
s.replace('l')
s.find('o')
s.find('o', 5)
s.find('zz')
s.rfind('o')
s.rfind('o', 0, 6)
s.index('W')
s.index('zz')
s.rindex('o')
uni.find('\u597d')
uni.find('')
s.find('', 99)
s.count('l')
s.count('')
s.count('l', 4)
'aaaa'.count('aa')
','.join(ls)
','.join(l)
','.join('abc')
', '.join([])
'-'.join(d)
s.isdigit()
num.isdigit()
digits.isdigit()
digits.isdecimal()
digits.isnumeric()
'\u0661\u0662'.isdigit()
'\u00b2'.isdigit()
'\u00bd'.isnumeric()
'abc'.isalpha()
'ab1'.isalnum()
'ab 1'.isalnum()
' \t'.isspace()
''.isspace()
'ABC'.isupper()
'ABC1'.isupper()
'abc'.islower()
'123'.islower()
'Abc Def'.istitle()
'ABc'.istitle()
'abc'.isascii()
uni.isascii()
q.isprintable()
'a_1'.isidentifier()
'1a'.isidentifier()
'abc'.removeprefix('a')
'abc'.removesuffix('bc')
'abc'.removesuffix('')
'42'.zfill(5)
'-42'.zfill(5)
'+4'.zfill(1)
'ab'.center(7)
'ab'.center(6, '*')
'abc'.center(6)
'ab'.ljust(5, '.') ~ '|'
'ab'.rjust(5)
'ab'.rjust(5, 'xx')
'a=b=c'.partition('=')
'a=b=c'.rpartition('=')
'abc'.partition('=')
'abc'.rpartition('=')
'{} {}'.format(1, 'a')
'{0} {1} {0}'.format(1, 'a')
'{a} {b}'.format(a=1, b=none)
'{0.a} {0[b]} {1[0]}'.format(d, l)
'{0.zz}'.format(d)
'{!r} {!s}'.format('x', 'y')
'{:>5}|{:<5}|{:^5}|{:*^7}'.format('a', 'b', 'c', 'd')
'{:5}|{:5}'.format(1, 'a')
'{:05d} {:+d} {:x} {:#x} {:b} {:o} {:,}'.format(42, 42, 255, 255, 5, 8, 1234567)
'{:.2f} {:.3e} {:g} {:%} {:10.1f}|'.format(3.14159, 12345.678, 0.0001, 0.256, 2.25)
'{:.3}'.format('abcdef')
'{:{}}|'.format('a', 5)
'{{}}'.format()
'{}'.format()
'{0} {}'.format(1, 2)
'{'.format()
'}'.format()
'{:d}'.format('a')
'{:s}'.format(1)
'{}'.format(l)
'{:5}'.format(l)
'{:>5}'.format(nil)
'{}'.format(undef)
'{:d}'.format(true)
'{:.1f}'.format(2)
'{:e}'.format(0)
'{:,.2f}'.format(1234567.891)
'{:_}'.format(1234567)
'{a}'.format(1)
s.zz()
s.upper is callable
i.zz()
s()
l()
floats
floats | map('string') | join(' ')
123456.789e3
1e5
100000000000000000000.0
0.00001
f | int
'3.7' | int
'abc' | int
'abc' | int(5)
'0x1f' | int(0, 16)
'1f' | int(base=16)
'0b11' | int(0, 2)
'77' | int(0, 8)
'0o17' | int(0, 0)
'z' | int(0, 36)
' 42 ' | int
'1_000' | int
'1__0' | int
'١٢' | int
'' | int
nil | int
l | int
nil | int(3)
t | int
-3.9 | int
(-3.9) | int
undef | int
'1.5' | float
'x' | float
'x' | float(2.5)
'inf' | float
'nan' | float
'-Infinity' | float
'1e3' | float
' 1.5 ' | float
'1_0.5' | float
'1e400' | float
'0x10' | float
nil | float
i | float
t | float
undef | float
2.5 | round
3.5 | round
-2.5 | round
2.675 | round(2)
1234.567 | round(-2)
1250 | round(-2)
1350 | round(-2)
-1250 | round(-2)
7 | round
7 | round(1)
2.1 | round(0, 'ceil')
2.9 | round(0, 'floor')
2.123 | round(2, 'ceil')
-2.129 | round(2, 'floor')
7 | round(method='ceil')
2.5 | round(method='x')
's' | round
t | round
0.5 | round
1.5 | round(none)
1e300 | round(2)
neg | abs
(-2.5) | abs
t | abs
's' | abs
nil | abs
s | length
l | count
d | length
i | length
nil | length
range(5) | length
(x for x in l)
range(5)
range(1, 5)
range(0, 10, 3)
range(5, 0, -2)
range(5) | list
range(10, 0, -3) | list
range(0) | list
range(2.5)
range('a')
range(1, 2, 0)
range()
range(5)[1:3]
range(5)[-1]
range(5)[9]
range(5)[::-1] | list
range(5).start
3 in range(5)
7 in range(0, 10, 2)
range(3) == range(3)
range(0) == range(5, 5)
range(3) == [0, 1, 2]
range(5) | sum
range(5) | tojson
range(5) | last
range(100001)
s | upper
s | lower
s | title
"hello world-foo (bar) [baz] <q> it's" | title
sharp | title
s | capitalize
'hELLO' | capitalize
5 | upper
nil | upper
l | upper
sp | trim
sp | trim(' x')
5 | trim
'xxa' | trim(chars='x')
s | replace('o', '0')
s | replace('o', '0', 1)
123 | replace(2, 'x')
l | replace(',', ';')
s | replace('', '.')
s | replace('o')
s | replace('o', 'x', 'y')
ls | join
ls | join(', ')
ls | join(d='+')
l | join(1)
mixed | join('|')
users | join(', ', attribute='name')
users | join('/', 'address.city')
'abc' | join('-')
d | join('-')
undef | join(',')
nil | join(',')
5 | join(',')
l | first
el | first
s | first
d | first
5 | first
l | last
el | last
s | last
d | last
l | map('string') | last
l | reverse | last
d.items() | last
undef | first
undef | last
l | min
l | max
ls | min
ls | max
ls | max(case_sensitive=true)
el | min
users | max(attribute='age')
users | min(attribute='name')
mixed | max
l | sum
floats[:3] | sum
[[1], [2]] | sum(start=[])
['a', 'b'] | sum
['a', 'b'] | sum(start='')
users | sum(attribute='age')
users | sum('age', 100)
l | sort
l | sort(reverse=true)
ls | sort
ls | sort(case_sensitive=true)
ls | sort(true, true)
mixed | sort
users | sort(attribute='age') | map(attribute='name') | list
users | sort(attribute='age,name') | map(attribute='name') | list
users | sort(attribute='age', reverse=true) | map(attribute='name') | list
users | sort(attribute='address.city') | map(attribute='name') | list
users | sort(attribute='active') | list
nested | sort
'hello' | sort
d | sort
undef | sort
5 | sort
['a', 'A', 'b', 'B', 'a'] | unique | list
['a', 'A', 'b'] | unique(true) | list
[1, 1.0, true, 2] | unique | list
nested | unique | list
users | unique(attribute='age') | map(attribute='name') | list
l | map('string') | list
l | map('float') | join(',')
ls | map('upper') | list
ls | map('replace', 'A', 'x') | list
users | map(attribute='name') | join(', ')
users | map(attribute='active') | list
users | map(attribute='active', default='no') | list
users | map(attribute='tags.0') | list
users | map(attribute='address.city') | map('lower') | list
users | map(attribute=0) | list
l | map('nothing') | list
l | map('nothing') is defined
nil | map('upper') | list
5 | map('upper') | list
undef | map('upper') | list
l | map('round', precision=1) | list
l | select('odd') | list
l | select('gt', 1) | list
l | select | list
mixed | select | list
l | select('nothing') | list
l | select('divisibleby', 2) | list
l | select('in', [1, 2]) | list
l | select('==', 1) | list
l | reject('odd') | list
mixed | reject('none') | list
mixed | reject | list
users | selectattr('active') | map(attribute='name') | list
users | selectattr('age', 'equalto', 30) | map(attribute='name') | list
users | selectattr('age', 'lt', 30) | map(attribute='name') | list
users | selectattr('active', 'defined') | list | length
users | rejectattr('active', 'defined') | map(attribute='name') | list
users | rejectattr('tags') | map(attribute='name') | list
users | selectattr('address.city', 'eq', 'Rome') | list | length
users | selectattr | list
users | selectattr('name', 'in', ['Bob']) | map(attribute='age') | first
'yes' if el | select else 'no'
'yes' if l | select('gt', 99) else 'no'
l | select('odd') | length
d | items | list
undef | items | list
l | items | list
d | dictsort
d | dictsort(true)
d | dictsort(by='value')
{'x': 2, 'y': 1} | dictsort(by='value')
{'x': 2, 'y': 1} | dictsort(false, 'value', true)
d | dictsort(by='z')
{1: 1, 'a': 2} | dictsort
l | dictsort
l | list
s | list
d | list
5 | list
nil | list
range(7) | batch(3) | list
range(7) | batch(3, 'x') | list
range(7) | batch(3, none) | list
range(7) | batch(0) | list
el | batch(3) | list
range(7) | slice(3) | list
range(7) | slice(3, 'x') | list
range(2) | slice(3, 'x') | list
range(7) | slice(0) | list
l | reverse | list
d | reverse | list
s | reverse
l | map('string') | reverse
d.items() | reverse | list
5 | reverse
'yes' if el | reverse else 'no'
users | groupby('age') | list | length
users | groupby('age') | map('first') | list
users | groupby('address.city') | map(attribute='grouper') | list
users | groupby('address.city', case_sensitive=true) | map('first') | list
users | groupby('active', default=false) | map('first') | list
(users | groupby('age'))[0].list | length
users | groupby('nope')
l | tojson
d | tojson
mixed | tojson
uni | tojson
uni | tojson(ensure_ascii=true)
q | tojson
q | tojson(true)
html | tojson
floats | tojson
d | tojson(indent=2)
mixed | tojson(indent=0)
nested | tojson(indent=1)
ed | tojson(indent=4)
el | tojson(indent=4)
d | tojson(sort_keys=true)
d | tojson(separators=(',', ':'))
d | tojson(indent=2, separators=(',', ': '))
d | tojson(indent='\t')
{1: 2, none: 3, true: 4, 1.5: 5} | tojson
{(1, 2): 3} | tojson
{1: 1, 'a': 2} | tojson(sort_keys=true)
(1, 2) | tojson
undef | tojson
d.items() | tojson
s.upper | tojson
nil | tojson
'nan' | float | tojson
[undef] | tojson
users | tojson(indent=2)
lines | indent
lines | indent(2, true)
lines | indent('> ', first=true)
'a\n\nb' | indent(2)
'a\n\nb' | indent(2, blank=true)
'' | indent(first=true)
'a\n' | indent
5 | indent
l | indent
html | e
html | escape
html | safe
(html | safe) + '<'
'<' + (html | safe)
html | e | e
html | forceescape
[html | e]
(html | e) ~ '<'
5 | e
nil | e
(html | safe) | upper
(html | safe).lower()
(html | safe)[0:2] + '<'
(html | safe) is escaped
html is escaped
('%s' | safe) % '<'
('{}' | safe).format(1)
('<' | safe).join(['&', 'a'])
('a' | safe).replace('a', '<')
(html | safe) == html
(html | safe) | length
{html: 1}[html | safe]
s | center(20) ~ '|'
'abc' | center(6) ~ '|'
s | wordcount
"it's a_b c-d 5" | wordcount
uni | wordcount
'%s, %s!' | format('a', 'b')
'%(x)s' | format(x=1)
'%s' | format
'%s' | format('a', x=1)
5 | format
s | truncate(5)
s | truncate(5, true)
s | truncate(8, true, '..', 0)
'foo bar baz qux' | truncate(9)
'foo bar baz qux' | truncate(9, leeway=0)
'foo bar baz qux' | truncate(2)
s | string
5 | string
l | string
nil | string
undef | string
undef | default
undef | default('x')
nil | default('x')
nil | default('x', true)
e | d('x', boolean=true)
zero | d(5, true)
undef.x | default('y')
d.zz | default('y')
undef | default(undef)
d | attr('b')
s | attr('zz')
i is odd
i is even
f is odd
's' is odd
i is divisibleby 7
i is divisibleby(3)
i is divisibleby 0
undef is defined
s is defined
undef is undefined
d.zz is defined
d.zz.y is defined
nil is none
nil is not none
s is string
5 is string
i is number
t is number
f is number
num is number
i is integer
t is integer
f is float
i is float
t is boolean
1 is boolean
d is mapping
l is mapping
undef is mapping
l is sequence
s is sequence
d is sequence
i is sequence
undef is sequence
range(3) is sequence
d.keys() is sequence
l is iterable
s is iterable
d is iterable
i is iterable
undef is iterable
range is callable
s.upper is callable
s is callable
undef is callable
t is true
1 is true
no is false
zero is false
i is equalto 7
i is eq(7)
i is ne 8
i is lt 8
i is gt 8
i is ge 7
i is le 6
i is lessthan 9
i is greaterthan 9
i is in [7]
i is not in [7]
'a' is in d
low is lower
up is upper
up is lower
'1' is lower
5 is upper
nil is sameas none
t is sameas true
l is sameas l
1 is sameas true
'upper' is filter
'zz' is filter
'odd' is test
s is nothing
s | nothing
'x' if false else 'y' | nothing
s is string and i is number
not s is string
s is string == true
i is odd or undef.x.y
i > 5 and i < 10
dict(a=1, b=2)
dict([('a', 1), ('b', 2)])
dict(d, z=1)
dict(['ab', 'cd'])
dict([1])
dict(1)
dict()
dict({'a': 1}, a=2)
namespace(a=1).a
namespace(a=1)
namespace(d).b
namespace(a=1)['a']
namespace(a=1).zz
namespace(a=1) is mapping
namespace() is iterable
namespace(a=[1, 's'])
'a' in namespace(a=1)
cycler('a', 'b').next()
cycler()
cycler('a', 'b').current
joiner(',')()
raise_exception('no <way>')
raise_exception(5)
raise_exception()
strftime_now('%Y-%m-%d')
strftime_now('%d %b %Y, %A %B %H:%M:%S %j %p %y %%')
strftime_now('')
strftime_now(5)
range(*[1, 4]) | list
dict(**{'a': 1})
dict(**[1])
range(*5)
s.replace(*['l', 'L'])
l[0:2][::-1]
'abc'[1:].upper()
(l + [9])[-1]
('a', 'b')[1]
{'a': 1}.a
{'a': {'b': 2}}.a.b
{'a': 1}['a'] + 1
[1, 2, 3][1]
[[1, 2], [3]][0][1]
'a' in ['a', 'b'] and 'c' not in ['a']
(1 if t else 2) + 3
1 + 2 * 3 - 4 / 2
(1 + 2) * 3
10 - 2 - 3
2 * 3 % 4
'a' + 'b' * 2
1 ~ 2 ~ 3
-1 | abs
-l[0]
l[0] | string + 'x'
not i == 7
i == 7 and not no
loop
loop.index
caller
l | sort | first
l | sort | reverse | list
s.split(' ') | map('length') | list
s.split(' ')[-1].upper()
users[0].name
users[0]['name'][0]
users[-1].address.city
users[0].tags[5] is defined
users[0].tags[5]
users | length > 2
d.items() | map('first') | list
d | dictsort | map('last') | list
mixed
nested
users[0]
[undef]
{'a': undef}
(undef,)
[l.append]
1 if
1 +
)
(1
[1, 2
{'a' 1}
a b
1 2
x y z
'abc
"abc
!
a!b
$
a = 1
1.2.3
1.
.5
a..b
a.
a[
a[]
l[1:2, 3]
f(a=1, 2)
f(*a, b)
f(**a, *b)
f(a=1, a=2)
dict(a=1, a=2)
l | map(attribute='a', zz=1) | list
s | upper(1)
s | length(1)
s is string(1)
s is defined is defined
s.upper(1)
s is divisibleby
if
and
not
in
is
'a' is
1 is 1
d.a.0
d.a.9
d.a.-1
s.0
i.0
[1,2,3,]
(1,2,)
{'a':1,}
range(3,)
[,]
(,)
"a" "b" ~ 'c'
'\'
1if t else 2
1or 2
[1]if 1 else 2
l [0]
d . a
s | upper | lower | title
s|upper
1_0
1__0
0_1
01
1e
1e+
0x
0b2
é
naïve
ñ is defined
""" .strip().split("\n")
