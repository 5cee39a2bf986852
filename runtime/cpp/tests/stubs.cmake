# Writes classes that implement all of TensorRT's interfaces by ending the process: a stand-in
# derives from them and says only what it needs. Made of the headers that were given, so it fits
# each version of them.
#     cmake -DHEADER=…/NvInferImpl.h -DOUT=stubs.hpp -P stubs.cmake
file(READ ${HEADER} text)
# A list would be cut at semicolons and joined inside brackets.
string(REPLACE ";" "@" text "${text}")
string(REGEX REPLACE "//[^\n]*" "" text "${text}")
set(made "// Made by stubs.cmake.\n#pragma once\n#include <NvInferRuntime.h>\n#include <cstdlib>\nnamespace nvinfer1::apiv {\n")
foreach(name VRuntime VCudaEngine VExecutionContext)
    string(FIND "${text}" "class ${name} : public VRoot" start)
    if(start EQUAL -1)
        message(FATAL_ERROR "${HEADER} has no class ${name}")
    endif()
    string(SUBSTRING "${text}" ${start} -1 body)
    string(FIND "${body}" "\n}@" end)
    string(SUBSTRING "${body}" 0 ${end} body)
    string(REGEX MATCHALL "virtual [^@]*= 0@" functions "${body}")
    string(APPEND made "class Stub${name} : public ${name} {\n  public:\n")
    foreach(function IN LISTS functions)
        string(REGEX REPLACE "^virtual " "" function "${function}")
        string(REGEX REPLACE "= 0@$" "override { std::abort(); }" function "${function}")
        string(APPEND made "    ${function}\n")
    endforeach()
    string(APPEND made "};\n")
endforeach()
string(APPEND made "}  // namespace nvinfer1::apiv\n")
string(REPLACE "@" ";" made "${made}")
file(WRITE ${OUT} "${made}")
