// A stand-in for LittleFS: files in the folder that the environment's FLASH names.
#pragma once
#include <sys/stat.h>
#include <unistd.h>

#include "Arduino.h"

class File {
 public:
  explicit File(FILE* file) : file_(file) {}
  size_t size() {
    struct stat status;
    return fstat(fileno(file_), &status) == 0 ? status.st_size : 0;
  }
  bool seek(size_t at) { return std::fseek(file_, at, SEEK_SET) == 0; }
  void println(const char* text) { std::fprintf(file_, "%s\r\n", text); }  // as on a board
  void println(const String& text) { println(text.c_str()); }
  String readStringUntil(char end) {
    String text;
    for (int read = std::fgetc(file_); read != EOF && read != end; read = std::fgetc(file_)) text.append(read);
    return text;
  }
  void close() { std::fclose(file_); }

 private:
  FILE* file_;
};

struct Flash {
  static std::string path(const char* name) { return std::string(std::getenv("FLASH")) + name; }
  bool begin(bool) { return true; }
  bool exists(const char* name) { return access(path(name).c_str(), F_OK) == 0; }
  bool remove(const char* name) { return unlink(path(name).c_str()) == 0; }
  bool rename(const char* from, const char* to) { return std::rename(path(from).c_str(), path(to).c_str()) == 0; }
  File open(const char* name, const char* mode) { return File(std::fopen(path(name).c_str(), mode)); }
};
static Flash LittleFS;
