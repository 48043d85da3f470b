-- In which year tables the detections of a receiver stand: what is asked of some receivers need not open the tables of every project.
create table platform.receiver_tables (
    receiver_key int not null,
    part text not null check (part in ('detections', 'otn_detections')),
    collectioncode text not null,
    year int not null,
    primary key (receiver_key, part, collectioncode, year)
);

do $$
declare
    found record;
begin
    for found in
        select n.nspname as schema_name, c.relname as table_name, r.collectioncode, substring(c.relname from '^(.*)_[0-9]{4}$') as part,
            right(c.relname, 4)::int as year
        from pg_class c join pg_namespace n on n.oid = c.relnamespace
        join (select collectioncode from platform.submissions union select collectioncode from obis.otn_resources) r on lower(r.collectioncode) = n.nspname
        where c.relkind = 'r' and c.relname ~ '^(otn_)?detections_[0-9]{4}$'
    loop
        execute format('insert into platform.receiver_tables select distinct receiver_key, %L, %L, %s from %I.%I',
            found.part, found.collectioncode, found.year, found.schema_name, found.table_name);
    end loop;
end $$;
