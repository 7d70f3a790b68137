"""Reason codes of rejected messages: stable names that people filter and alert on."""

from __future__ import annotations

MALFORMED_JSON = "malformed_json"
NOT_UTF8 = "not_utf8"
NOT_AN_OBJECT = "not_an_object"
DUPLICATE_KEY = "duplicate_key"
TOO_DEEP = "too_deep"
MESSAGE_TOO_LARGE = "message_too_large"
EMPTY_MESSAGE = "empty_message"
MISSING_FIELD = "missing_field"
WRONG_TYPE = "wrong_type"
NOT_FINITE = "not_finite"
OUT_OF_RANGE = "out_of_range"
INVALID_ID = "invalid_id"
INVALID_VALUE = "invalid_value"
INVALID_TIMESTAMP = "invalid_timestamp"
TIMESTAMP_TOO_OLD = "timestamp_too_old"
TIMESTAMP_IN_FUTURE = "timestamp_in_future"
UNKNOWN_EVENT_TYPE = "unknown_event_type"
TEXT_TOO_LONG = "text_too_long"
TOO_MANY_ITEMS = "too_many_items"
EXTRA_TOO_LARGE = "extra_too_large"
SHARES_EXCEED_ONE = "shares_exceed_one"
NOT_STORABLE = "not_storable"

REASONS: dict[str, str] = {
    MALFORMED_JSON: "the bytes are not one JSON value (RFC 8259), or have half a surrogate pair",
    NOT_UTF8: "the bytes are not UTF-8",
    NOT_AN_OBJECT: "the JSON value is not an object",
    DUPLICATE_KEY: "an object has the same key twice, so its meaning is not certain",
    TOO_DEEP: "objects or arrays are nested deeper than 32 levels",
    MESSAGE_TOO_LARGE: "the message is larger than 1 MiB",
    EMPTY_MESSAGE: "the message has no value (a tombstone, or no bytes)",
    MISSING_FIELD: "a required field is absent or null",
    WRONG_TYPE: "a field has another type than the contract's",
    NOT_FINITE: "a number is NaN, infinite or overflows (such as 1e999)",
    OUT_OF_RANGE: "a number is outside its limits (energy below 0, a percentage above 100, beyond 64 bits)",
    INVALID_ID: "an identifier does not match ^[A-Za-z0-9._:@/+-]{1,200}$",
    INVALID_VALUE: "a field has a value that is none of those that are known",
    INVALID_TIMESTAMP: "a time is neither RFC 3339 nor epoch seconds or milliseconds",
    TIMESTAMP_TOO_OLD: "the event time is before 2015-01-01",
    TIMESTAMP_IN_FUTURE: "the event time is more than 5 minutes after the Kafka record's own time",
    UNKNOWN_EVENT_TYPE: "the event_type is none of those that are known",
    TEXT_TOO_LONG: "a text has more than 1,000 characters",
    TOO_MANY_ITEMS: "more entries than allowed (64 hyperparameters, 64 meters, 1,024 GPUs or consumers)",
    EXTRA_TOO_LARGE: "the unknown fields together exceed 4 KiB",
    SHARES_EXCEED_ONE: "the consumers' shares of one device sum to more than 1",
    NOT_STORABLE: "the document store refused the document by itself (not an outage)",
}
