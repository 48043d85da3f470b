-- Tags of animals with their windows; last_ms: until when a match is still taken, the node's extension included (its parameter).
select
    t.mooring_key as tag_key, a.animal_key, k.transmitter_key, t.fieldnumber as transmitter,
    t.collectioncode as trackercode, r.project_key as tracker_key, a.catalognumber,
    (extract(epoch from t.startdatetime)*1000)::bigint as release_ms,
    (extract(epoch from t.enddatetime)*1000)::bigint as end_ms,
    (extract(epoch from t.enddatetime + make_interval(months => (%s::jsonb ->> r.node)::int))*1000)::bigint as last_ms,
    ((greatest(t.datelastmodified, a.datelastmodified) at time zone 'UTC')::date - date '1970-01-01') as modified_day,
    t.serialnumber, t.instrumentmodel as tag_model, a.scientificname, a.commonname, a.locality as release_location,
    a.latitude as release_latitude, a.longitude as release_longitude, a.stock, a.wild_ind, a.length, a.lengthtype,
    a.observedweight as weight, a.lifestage, a.age, a.sex, a.collector, t.window_code
from obis.moorings t
join obis.otn_animals a on a.collectioncode = t.collectioncode and a.catalognumber = t.relatedcatalogitem
join obis.otn_resources r on r.collectioncode = t.collectioncode
join platform.transmitter_keys k on k.transmitter = t.fieldnumber
where t.basisofrecord = 'TRANSMITTER' and t.relationshiptype = 'ANIMAL'
order by 1
