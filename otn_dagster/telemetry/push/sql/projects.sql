-- Projects of all nodes.
select
    project_key, collectioncode, node, projecttype, resource_full_name, abstract, citation, website, institutioncode,
    local_area, locality, ocean, country, state, seriescode, shortname, longname, collaborationtype, status, westbl,
    eastbl, southbl, northbl, sdate::text as sdate, edate::text as edate,
    ((datelastmodified at time zone 'UTC')::date - date '1970-01-01') as modified_day
from obis.otn_resources
order by 1
