// Prints every message of an OpenIGTLink server, one a line, until the server ends the connection:
//
//     igtl_client HOST PORT
//
// Written on the reference library (Debian: libopenigtlink-dev), which checks every checksum.
#include <igtlClientSocket.h>
#include <igtlImageMessage.h>
#include <igtlMessageHeader.h>
#include <igtlStringMessage.h>
#include <igtlTimeStamp.h>
#include <igtlTransformMessage.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

namespace {

void print(igtl::Matrix4x4 &matrix) {
    for (int row = 0; row < 3; ++row)
        for (int column = 0; column < 4; ++column)
            std::printf(" %.9g", static_cast<double>(matrix[row][column]));
}

// The body as a message of the type M, or an error.
template <typename M> typename M::Pointer body(igtl::Socket *socket, igtl::MessageHeader *header) {
    typename M::Pointer message = M::New();
    message->SetMessageHeader(header);
    message->AllocatePack();
    if (socket->Receive(message->GetPackBodyPointer(), message->GetPackBodySize()) != message->GetPackBodySize() ||
        !(message->Unpack(1) & igtl::MessageHeader::UNPACK_BODY)) {
        std::fprintf(stderr, "the body of %s is damaged\n", header->GetDeviceName());
        std::exit(3);
    }
    return message;
}

} // namespace

int main(int count, char **arguments) {
    if (count != 3)
        return 2;
    igtl::ClientSocket::Pointer socket = igtl::ClientSocket::New();
    if (socket->ConnectToServer(arguments[1], std::atoi(arguments[2])) != 0)
        return 4;
    for (;;) {
        igtl::MessageHeader::Pointer header = igtl::MessageHeader::New();
        header->InitPack();
        if (socket->Receive(header->GetPackPointer(), header->GetPackSize()) != header->GetPackSize())
            return 0;
        if (!(header->Unpack(1) & igtl::MessageHeader::UNPACK_HEADER))
            return 5;
        igtl::TimeStamp::Pointer stamp = igtl::TimeStamp::New();
        header->GetTimeStamp(stamp);
        const std::string type = header->GetDeviceType();
        std::printf("%s %s %.6f", type.c_str(), header->GetDeviceName(), stamp->GetTimeStamp());
        igtl::Matrix4x4 matrix;
        if (type == "IMAGE") {
            const igtl::ImageMessage::Pointer image = body<igtl::ImageMessage>(socket, header);
            int size[3];
            image->GetDimensions(size);
            image->GetMatrix(matrix);
            std::uint32_t hash = 2166136261u; // FNV-1a
            const auto *pixels = static_cast<const unsigned char *>(image->GetScalarPointer());
            for (long i = 0; i < image->GetImageSize(); ++i)
                hash = (hash ^ pixels[i]) * 16777619u;
            std::printf(" %d %d %d %d %d %u", size[0], size[1], size[2], image->GetNumComponents(), image->GetScalarType(),
                        hash);
            print(matrix);
        } else if (type == "TRANSFORM") {
            body<igtl::TransformMessage>(socket, header)->GetMatrix(matrix);
            print(matrix);
        } else if (type == "STRING") {
            std::printf(" %s", body<igtl::StringMessage>(socket, header)->GetString());
        } else {
            return 6;
        }
        std::printf("\n");
    }
}
