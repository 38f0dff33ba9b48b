-- Whose phone a test message went to: a receipt that names only the phone may be about the test.
ALTER TABLE gateway_tests ADD COLUMN recipient BYTEA;   -- keyed hash of the phone number; null: it has not left
