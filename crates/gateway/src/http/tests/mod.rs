pub(super) mod offline;
