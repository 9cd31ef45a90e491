-- A committed run can be taken back while its source is kept, by a run that names it here.
ALTER TABLE runs ADD COLUMN undoes INTEGER REFERENCES runs;
