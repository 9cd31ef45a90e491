-- Files that do not count for payloads.media_hash, as `payload.extras` was at the last payload sync.
CREATE TABLE payload_extras (
    word TEXT PRIMARY KEY          -- an ending with its dot, in lower case; or `sample`
) STRICT, WITHOUT ROWID;
INSERT INTO payload_extras VALUES ('.nfo'), ('.sfv'), ('.srr'), ('.srs'), ('.txt'), ('sample');
