-- SPDX-License-Identifier: GPL-2.0
-- real/workload.sql - a database in memory: filled, indexed, asked, changed and checked.
-- The last statement copies the program's smaps to the file that $MAPS names.
.mode list
create table goods (id integer primary key, name text, kind integer, price real);
create table sales (id integer primary key, good integer, amount integer, note text);
with recursive n(i) as (select 1 union all select i + 1 from n where i < 3000)
	insert into goods select i, 'good ' || ((i * 7919) % 12007), i % 37, ((i * 104729) % 10007) / 100.0 from n;
with recursive n(i) as (select 1 union all select i + 1 from n where i < 15000)
	insert into sales select i, 1 + (i * 31337) % 3000, 1 + (i * 17) % 9,
		substr('abcdefghijklmnopqrstuvwxyz', 1 + i % 20) || ' ' || (i * 65537) % 99991 from n;
create index goods_kind on goods (kind, price);
create index sales_good on sales (good);
select 'rows', count(*), (select count(*) from sales) from goods;
select kind, count(*), round(sum(amount * price), 2), max(name) from goods
	join sales on sales.good = goods.id group by kind order by kind;
select name, sum(amount) as total from sales join goods on goods.id = good
	group by good having total > 20 order by total desc, name limit 40;
select good, group_concat(note, ',') from (select * from sales order by note)
	where good in (5, 50, 500) group by good;
update sales set note = upper(note) || note where id % 3 = 0;
delete from sales where id % 5 = 0;
select 'after', count(*), sum(length(note)), min(note), max(note) from sales;
select 'window', sum(rank * amount) from
	(select amount, rank() over (partition by good order by note) as rank from sales);
pragma integrity_check;
.system [ -z "$MAPS" ] || cat /proc/$PPID/smaps >"$MAPS"
