# Finds the C header of ONNX Runtime: as told, as installed, or fetched from Debian into the build folder.
# Only the header: the library is loaded when a session is opened.
if(NOT TROCAR_ONNXRUNTIME_INCLUDE)
    find_path(TROCAR_ONNXRUNTIME_FOUND onnxruntime_c_api.h PATH_SUFFIXES onnxruntime onnxruntime/core/session)
    if(TROCAR_ONNXRUNTIME_FOUND)
        set(TROCAR_ONNXRUNTIME_INCLUDE ${TROCAR_ONNXRUNTIME_FOUND})
    else()
        set(script ${CMAKE_CURRENT_SOURCE_DIR}/../../scripts/fetch_onnxruntime_headers.sh)
        # One copy for all build folders beside this one.
        execute_process(
            COMMAND ${script} ${CMAKE_CURRENT_SOURCE_DIR}/build-headers
            OUTPUT_VARIABLE TROCAR_ONNXRUNTIME_INCLUDE OUTPUT_STRIP_TRAILING_WHITESPACE RESULT_VARIABLE failed)
        if(failed)
            message(FATAL_ERROR "No header of ONNX Runtime: set TROCAR_ONNXRUNTIME_INCLUDE to the folder of onnxruntime_c_api.h")
        endif()
    endif()
endif()
message(STATUS "ONNX Runtime header: ${TROCAR_ONNXRUNTIME_INCLUDE}")
