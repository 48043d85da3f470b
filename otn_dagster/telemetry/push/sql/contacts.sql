-- People of projects and their roles.
select
    collectioncode, name, email, affiliation, role, point_of_contact::int as point_of_contact
from obis.contacts
join obis.contacts_projects using (contact_pk)
order by 1, 5, 2, 3
