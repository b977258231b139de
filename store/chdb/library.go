package chdb

import (
	"errors"
	"unsafe"
)

// library is libchdb's C interface (chdb.h of 26.7), as far as it is used here.
// A pointer that a function returns belongs to the library.
type library struct {
	setSignals    func(enabled int32)
	connect       func(argc int32, argv unsafe.Pointer) unsafe.Pointer
	closeConn     func(conn unsafe.Pointer)
	query         func(conn, sql unsafe.Pointer, sqlLen uintptr, format unsafe.Pointer, formatLen uintptr, names, nameLens, values, valueLens unsafe.Pointer, n uintptr) unsafe.Pointer
	streamQuery   func(conn, sql unsafe.Pointer, sqlLen uintptr, format unsafe.Pointer, formatLen uintptr, names, nameLens, values, valueLens unsafe.Pointer, n uintptr) unsafe.Pointer
	streamFetch   func(conn, result unsafe.Pointer) unsafe.Pointer
	streamCancel  func(conn, result unsafe.Pointer)
	destroyResult func(result unsafe.Pointer)
	insert        func(conn, sql unsafe.Pointer, sqlLen uintptr, format unsafe.Pointer, formatLen uintptr) unsafe.Pointer
	insertAppend  func(stream, data unsafe.Pointer, n uintptr) int32
	insertDone    func(stream unsafe.Pointer) unsafe.Pointer
	insertCancel  func(stream unsafe.Pointer)
	insertError   func(stream unsafe.Pointer) unsafe.Pointer
	destroyInsert func(stream unsafe.Pointer)
	resultBuffer  func(result unsafe.Pointer) unsafe.Pointer
	resultLength  func(result unsafe.Pointer) uintptr
	resultError   func(result unsafe.Pointer) unsafe.Pointer
	rowsRead      func(result unsafe.Pointer) uint64
	bytesRead     func(result unsafe.Pointer) uint64
	rowsWritten   func(result unsafe.Pointer) uint64
	bytesWritten  func(result unsafe.Pointer) uint64
	classify      func(conn, sql unsafe.Pointer, sqlLen uintptr, database unsafe.Pointer, databaseLen uintptr, analysis unsafe.Pointer) int32
}

// openLibrary loads the library at path. Its signal handlers are switched off
// before the first connection: with them a recovered nil dereference in Go
// would hang the process.
func openLibrary(path string) (*library, error) {
	bind, err := dlopen(path)
	if err != nil {
		return nil, err
	}
	var l library
	err = errors.Join(
		bind(&l.setSignals, "chdb_set_signal_handlers_enabled"),
		bind(&l.connect, "chdb_connect"),
		bind(&l.closeConn, "chdb_close_conn"),
		bind(&l.query, "chdb_query_with_params_n"),
		bind(&l.streamQuery, "chdb_stream_query_with_params_n"),
		bind(&l.streamFetch, "chdb_stream_fetch_result"),
		bind(&l.streamCancel, "chdb_stream_cancel_query"),
		bind(&l.destroyResult, "chdb_destroy_query_result"),
		bind(&l.insert, "chdb_stream_insert_n"),
		bind(&l.insertAppend, "chdb_stream_append"),
		bind(&l.insertDone, "chdb_stream_done"),
		bind(&l.insertCancel, "chdb_stream_cancel_insert"),
		bind(&l.insertError, "chdb_stream_insert_error"),
		bind(&l.destroyInsert, "chdb_destroy_insert_stream"),
		bind(&l.resultBuffer, "chdb_result_buffer"),
		bind(&l.resultLength, "chdb_result_length"),
		bind(&l.resultError, "chdb_result_error"),
		bind(&l.rowsRead, "chdb_result_storage_rows_read"),
		bind(&l.bytesRead, "chdb_result_storage_bytes_read"),
		bind(&l.rowsWritten, "chdb_result_rows_written"),
		bind(&l.bytesWritten, "chdb_result_bytes_written"),
		bind(&l.classify, "chdb_classify_query_n"),
	)
	if err != nil {
		return nil, err
	}
	l.setSignals(0)
	return &l, nil
}
