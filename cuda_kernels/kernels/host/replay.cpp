// Repeats recorded launches in a program of its own, for the sanitizers: replay FILE [backwards].
//
// Every buffer is allocated with its exact size. Exits 0 if all buffers end as recorded, bit for
// bit; 3 if one differs. emulation.py writes the file; a kernel source is included before this.
#include <fstream>
#include <iostream>

namespace {

struct Argument {
  std::uint32_t kind = 0;     // 0: a number, 1: null, 2: a buffer
  std::unique_ptr<char[]> buffer;
  std::vector<char> expected;
  void* pointer = nullptr;
  std::int64_t number = 0;
};

template <typename Value>
bool get(std::ifstream& file, Value& value) {
  return static_cast<bool>(file.read(reinterpret_cast<char*>(&value), sizeof value));
}

}  // namespace

int main(int count, char** words) {
  if (count < 2) return 2;
  std::ifstream file(words[1], std::ios::binary);
  const int backwards = count > 2;
  std::uint32_t length = 0;
  int launches = 0;
  while (get(file, length)) {
    std::string name(length, ' ');
    file.read(name.data(), length);
    unsigned grid[3];
    std::uint32_t threads = 0, arguments = 0;
    std::uint64_t shared = 0;
    get(file, grid);
    get(file, threads);
    get(file, shared);
    get(file, arguments);
    std::vector<Argument> given(arguments);
    std::vector<void*> pointers;
    for (Argument& argument : given) {
      std::uint64_t size = 0;
      get(file, argument.kind);
      get(file, size);
      if (argument.kind == 0) {
        get(file, argument.number);
        pointers.push_back(&argument.number);  // little-endian: an int is its first half
      } else {
        if (argument.kind == 2) {
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
    for (const Argument& argument : given) {
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
