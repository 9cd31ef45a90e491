-- What a torrent was last proved to seed, and on which device.  It stands while its files are missing, not to be
-- read or not yet scanned: until then the torrent moves together with those that have the same.
ALTER TABLE torrent_instances ADD COLUMN proved_device INTEGER REFERENCES devices;
ALTER TABLE torrent_instances ADD COLUMN proved_hash TEXT;
UPDATE torrent_instances SET proved_device = p.device_id, proved_hash = p.payload_hash
  FROM payloads AS p WHERE p.payload_id = torrent_instances.payload_id AND p.payload_hash IS NOT NULL;
CREATE INDEX torrent_instances_by_proof ON torrent_instances (proved_hash, proved_device);
