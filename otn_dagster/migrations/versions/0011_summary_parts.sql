-- What each part of a large table of a summary is made of: a part that did not change is not copied again.
create table platform.summary_parts (
    schema_name text not null,
    table_name text not null,
    part text not null,
    made_of text not null,
    primary key (schema_name, table_name, part)
);
