-- What an entry of the schedule says about its times: with another text it is another entry, and
-- nothing of before is made up for.  NULL: written by a version that did not know this column.
-- `due` is the moment up to which an entry is done with: enqueued, or before the entry was known.

ALTER TABLE schedule_slots ADD COLUMN timing TEXT;
