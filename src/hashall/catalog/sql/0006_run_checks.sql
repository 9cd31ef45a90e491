-- What a person asked to be read again before the commit, as JSON: whoever resumes the run has to do it.
ALTER TABLE runs ADD COLUMN checks TEXT NOT NULL DEFAULT '{}';
