-- When loading is locked, and for which push. A row is made before its cut-off comes, so the lock needs nobody awake:
-- loading obeys every row whose cut-off has passed and whose push has not finished.
create table platform.push_cutoffs (
    push_date date not null, node text not null, cutoff timestamptz not null, finished_at timestamptz, finished_why text,
    primary key (push_date, node));

create table obis.detection_extracts_list (
    detection_extract text not null, git_issue_link text, push_date date not null, completed boolean not null default false,
    collectioncode text not null, year integer not null, extract_type text not null check (extract_type in ('t', 'q', 'u', 's')),
    added bigint not null, changed bigint not null, withdrawn bigint not null,
    primary key (push_date, detection_extract));

-- Corrections by hand that survive every push: a match that its researcher calls improbable (unmatch, by unqDetecID),
-- a transmitter that turned out to be an unreported test tag (test_tag, by transmitter).
create table obis.match_overrides (
    subject text not null, action text not null check (action in ('unmatch', 'test_tag')),
    decided_by text not null, decided_why text not null, decided_at timestamptz not null default platform.now(),
    primary key (action, subject));

-- The summaries. The tables of a schema are replaced together, in one transaction, by the push that is named here.
create table platform.summaries (schema_name text primary key, push_date date not null, written_at timestamptz not null);

create table discovery.detection_pre_summary (
    collectioncode text, trackercode text, relationshiptype text, relatedcatalogitem text, weekcollected timestamp,
    fieldnumber text, rcvrcatnumber text, station text, detection_count bigint, min_detectdate timestamp,
    max_detectdate timestamp);

create table discovery.stations_header (
    collectioncode text, seriescode text, ocean text, station_name text, station_type text, latitude double precision,
    longitude double precision, stationstatus text, locality text);

create table discovery.stations_history_rows (
    collectioncode text, station_name text, instrument text, type text, deploy_date timestamp,
    last_download timestamp, recovery_date timestamp, downloads bigint, off_set text);

create table discovery.all_animals (
    collectioncode text, catalognumber text, vernacularname text, scientificname text, aphiaid bigint,
    datecollected timestamp, yearcollected bigint, latitude double precision, longitude double precision);

create table discovery.species_list (
    scientificname text, commonname text);

create table discovery.mstr_resources (
    collectioncode text, node text, projecttype text, resource_full_name text, ocean text, seriescode text,
    status text, collaborationtype text, totalrecords bigint);

create table geoserver.stations_receivers (
    collectioncode text, seriescode text, ocean text, station_name text, station_type text, stn_lat double precision,
    stn_long double precision, stationstatus text, locality text, model text, instrumenttype text,
    deploy_date timestamp, last_download timestamp, recovery_date timestamp, downloads bigint, off_set text);

create table geoserver.otn_resources_metadata_points (
    collectioncode text, report text, resource_full_name text, ocean text, seriescode text, status text,
    collaborationtype text, totalrecords bigint, id text, longitude double precision, latitude double precision);

create table geoserver.project_metadata (
    collectioncode text, id text, seriescode text, collaborationtype text, shortname text, longname text,
    citation text, abstract text, institutioncode text, ocean text, country text, state text, local_area text,
    locality text, westbl double precision, eastbl double precision, southbl double precision,
    northbl double precision, status text, usage text, website text, sdate date, edate date, node text, database text,
    db_location text, datacentre text);

create table geoserver.animals (
    collectioncode text, catalognumber text, vernacularname text, scientificname text, aphiaid bigint,
    datecollected timestamp, yearcollected bigint, latitude double precision, longitude double precision);

create table geoserver.moorings_receivers (
    station_status text, collectioncode text, station_name text, rcvr_location text, deploy_long double precision,
    deploy_lat double precision, rcvrcatnumber text, rcvrserial text, rcvrstatus text, instrument text, astype text,
    deploy_date timestamp, download_date timestamp, recovery_date timestamp, downloads bigint, off_set text);

create table erddap.otn_aat_animals (
    animal_project_reference text, datacenter_reference text, animal_reference_id text, animal_guid text,
    vernacularname text, scientificname text, taxonrank text, aphiaid bigint, tsn bigint, animal_origin text,
    stock text, length double precision, length_type text, weight double precision, life_stage text,
    age double precision, sex text);

create table erddap.otn_aat_receivers (
    deployment_project_reference text, datacenter_reference text, deployment_id text, deployment_guid text,
    receiver_manufacturer text, receiver_model text, frequencies_monitored text, receiver_coding_scheme text,
    receiver_serial_number text, latitude double precision, longitude double precision, time timestamp,
    recovery_datetime_utc timestamp, array_name text, receiver_reference_type text, receiver_reference_id text,
    bottom_depth double precision, depth double precision, deployment_comments text, deployed_by text,
    expected_receiver_life text);

create table erddap.otn_aat_tag_releases (
    release_project_reference text, datacenter_reference text, tag_device_id text, release_guid text,
    release_reference_id text, release_reference_type text, latitude double precision, longitude double precision,
    time timestamp, expected_enddate timestamp, manufacturer text, tag_model text, tag_serial_number text,
    tag_frequency text, tag_coding_system text, transmitted_id text, transmittername text, transmitter_type text,
    tag_programming_id text);

create table erddap.otn_aat_detections (
    detection_project_reference text, datacenter_reference text, detection_id text, detection_guid text,
    time timestamp, latitude double precision, longitude double precision, tracker_reference text,
    detection_reference_id text, detection_reference_type text, transmitter_codespace text, transmitter_id text,
    detection_transmittername text, detection_serial_number text, sensor_data double precision,
    sensor_data_units text, deployment_id text, detection_quality text, position_data_source text);

create table erddap.recover_offload_details (
    recovery_project_reference text, datacenter_reference text, recovery_id text, deployment_id text,
    recovery_guid text, recovery_latitude double precision, recovery_longitude double precision,
    recovery_datetime_utc timestamp, recovery_outcome text, data_offloaded text, offload_datetime_utc timestamp,
    log_filenames text, recovery_comments text);

create table erddap.manmade_platform (
    platform_project_reference text, datacenter_reference text, platform_reference_id text, platform_guid text,
    platform_type text, platform_depth double precision, platform_name text, latitude double precision,
    longitude double precision);

create table erddap.project_attributes (
    project_reference text, datacenter_reference text, project_name text, abstract text, citation text, pi text,
    pi_organization text, pi_contact text, infourl text, keywords text, keywords_vocabulary text, license text,
    datum text, geospatial_lon_min double precision, geospatial_lon_max double precision,
    geospatial_lat_min double precision, geospatial_lat_max double precision, vertical_min double precision,
    vertical_max double precision);

create table erddap.datacenter_attributes (
    datacenter_reference text, datacenter_name text, infourl text);
