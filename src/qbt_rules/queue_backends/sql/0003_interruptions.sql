-- How often a job was under way when its server was stopped in an orderly way.  Such an end is no
-- attempt that was lost, but a job that is begun anew for ever has to fail some time, too.

ALTER TABLE jobs ADD COLUMN interruptions INTEGER NOT NULL DEFAULT 0;
