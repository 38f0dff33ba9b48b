-- The conditions of these indexes in the words that both databases understand, so that one text of a statement fits
-- them. The column of the condition is in the index: SQLite would fetch the row for it.
DROP INDEX places_match;
CREATE INDEX places_match
    ON places (organisation_id, cell, latitude, longitude, participant_id, recipient, kind, paused_until, hours, opted_out)
    WHERE NOT opted_out;
DROP INDEX messages_open;
CREATE INDEX messages_open ON messages (lane, id, settled) WHERE NOT settled;
DROP INDEX fanouts_open;
CREATE INDEX fanouts_open ON fanouts (alert_id) WHERE NOT done;
DROP INDEX deliveries_resent;
CREATE INDEX deliveries_resent ON deliveries (message_id) WHERE in_doubt;
