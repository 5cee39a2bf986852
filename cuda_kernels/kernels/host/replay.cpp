// Repeats recorded launches in a separate program, for the sanitizers: replay FILE [backwards].
//
// Every buffer has its exact size. Exit status: 0 if every buffer ends bit-equal to the record, 3
// if one differs, 4 if a kernel is missing, 2 if the file cannot be read. Scratch, which may depend
// on the order of the threads, is not compared. emulation.py writes the
// file and includes a kernel source before this one.
#include <fstream>
#include <iostream>

namespace {

struct Argument {
  std::uint32_t kind = 0;  // 0: a number, 1: null, 2: a buffer, 3: scratch
  std::unique_ptr<char[]> buffer;
  std::vector<char> expected;
  void* pointer = nullptr;
  std::int64_t number = 0;
};

template <typename Value>
bool read(std::ifstream& file, Value& value) {
  return static_cast<bool>(file.read(reinterpret_cast<char*>(&value), sizeof value));
}

}  // namespace

int main(int count, char** words) {
  if (count < 2) return 2;
  std::ifstream file(words[1], std::ios::binary);
  const int backwards = count > 2;
  std::uint32_t length = 0;
  int launches = 0;
  while (read(file, length)) {
    std::string name(length, ' ');
    file.read(name.data(), length);
    unsigned grid[3];
    std::uint32_t threads = 0, arguments = 0;
    std::uint64_t shared = 0;
    read(file, grid);
    read(file, threads);
    read(file, shared);
    read(file, arguments);
    std::vector<Argument> values(arguments);
    std::vector<void*> pointers;
    for (Argument& argument : values) {
      std::uint64_t size = 0;
      read(file, argument.kind);
      read(file, size);
      if (argument.kind == 0) {
        read(file, argument.number);
        pointers.push_back(&argument.number);  // little-endian: an int is the first four bytes
      } else {
        if (argument.kind >= 2) {
          argument.buffer.reset(new char[size]);
          argument.expected.resize(size);
          file.read(argument.buffer.get(), static_cast<std::streamsize>(size));
          file.read(argument.expected.data(), static_cast<std::streamsize>(size));
          argument.pointer = argument.buffer.get();
        }
        pointers.push_back(&argument.pointer);
      }
    }
    if (!file) return 2;
    if (emulate(name.c_str(), grid, threads, shared, backwards, pointers.data())) return 4;
    for (const Argument& argument : values) {
      if (argument.kind == 2 && std::memcmp(argument.buffer.get(), argument.expected.data(),
                                            argument.expected.size()) != 0) {
        std::cerr << name << ": a buffer differs from the recorded one\n";
        return 3;
      }
    }
    ++launches;
  }
  std::cout << launches << " launches repeated\n";
  return launches ? 0 : 2;
}
