// The network itself, in Core ML.
import CoreGraphics
import CoreML
import Foundation
import ImageIO

/// Embeds faces: `try FaceEmbedder(FaceFile.all[0]).embed(photo, anchors)`.
public final class FaceEmbedder {
    private let file: FaceFile
    private let model: MLModel
    private let input: MLFeatureDescription
    private let output: String

    /// Compiles the package and loads it: keep one embedder.
    public init(_ file: FaceFile, units: MLComputeUnits = .all) throws {
        self.file = file
        let configuration = MLModelConfiguration()
        configuration.computeUnits = units
        let compiled = try MLModel.compileModel(at: try FaceEmbedder.resource(file.name))
        model = try MLModel(contentsOf: compiled, configuration: configuration)
        guard let port = model.modelDescription.inputDescriptionsByName.values.first,
            let name = model.modelDescription.outputDescriptionsByName.keys.first
        else { throw FaceError.model }
        input = port
        output = name
    }

    /// Gives the embedding of a face in an upright photo; the anchors are made of a detector's landmarks.
    public func embed(_ photo: CGImage, _ anchors: [Anchor]) throws -> Embedding {
        return try embed(try FaceEmbedder.pixels(photo).cut(try Similarity(anchors)))
    }

    /// Gives the embedding of a crop, aligned to the template.
    public func embed(_ crop: CGImage) throws -> Embedding {
        return try embed(try FaceEmbedder.pixels(crop))
    }

    /// Says whether two crops show one person, by the threshold that was measured for this very file.
    public func samePerson(_ a: CGImage, _ b: CGImage) throws -> Bool {
        return try embed(a).similarity(to: try embed(b)) >= file.threshold
    }

    /// Aligns and embeds every golden face and compares: run it on each kind of device, and after each change.
    func selfTest() throws -> [Outcome] {
        return try GoldenFace.all.map { face in
            func numbers(_ ending: String) throws -> [Float] {
                return floats(try Data(contentsOf: try FaceEmbedder.resource(face.name + ending)))
            }
            let photo = try FaceEmbedder.pixels(try FaceEmbedder.picture("\(face.name)-photo.png"))
            let crop = try FaceEmbedder.pixels(try FaceEmbedder.picture("\(face.name).png"))
            return outcome(
                face: face.name, cut: photo.cut(try Similarity(face.anchors)), crop: crop,
                tensor: try numbers(".nchw.bin"), got: try embed(crop),
                expected: Embedding(normalising: try numbers(".\(file.name).bin")), leastCosine: file.leastCosine)
        }
    }

    private func embed(_ crop: Pixels) throws -> Embedding {
        if let constraint = input.imageConstraint {  // the file takes pixels and scales them itself
            let picture = try FaceEmbedder.picture(crop)
            return try run(MLFeatureValue(cgImage: picture, constraint: constraint, options: nil))
        }
        let shape = [1, Contract.channels, Contract.height, Contract.width].map { NSNumber(value: $0) }
        let array = try MLMultiArray(shape: shape, dataType: .float32)
        for (place, value) in crop.preprocessed().enumerated() { array[place] = NSNumber(value: value) }
        return try run(MLFeatureValue(multiArray: array))
    }

    private func run(_ value: MLFeatureValue) throws -> Embedding {
        let given = try MLDictionaryFeatureProvider(dictionary: [input.name: value])
        guard let got = try model.prediction(from: given).featureValue(for: output)?.multiArrayValue
        else { throw FaceError.model }
        return Embedding(normalising: (0..<got.count).map { got[$0].floatValue })
    }

    static func picture(_ name: String) throws -> CGImage {
        guard let source = CGImageSourceCreateWithURL(try resource(name) as CFURL, nil),
            let picture = CGImageSourceCreateImageAtIndex(source, 0, nil)
        else { throw FaceError.picture }
        return picture
    }

    private static func picture(_ pixels: Pixels) throws -> CGImage {
        guard let provider = CGDataProvider(data: Data(pixels.rgba) as CFData),
            let space = CGColorSpace(name: CGColorSpace.sRGB),
            let picture = CGImage(
                width: pixels.width, height: pixels.height, bitsPerComponent: 8, bitsPerPixel: 32,
                bytesPerRow: 4 * pixels.width, space: space,
                bitmapInfo: CGBitmapInfo(rawValue: CGImageAlphaInfo.noneSkipLast.rawValue), provider: provider,
                decode: nil, shouldInterpolate: false, intent: .defaultIntent)
        else { throw FaceError.picture }
        return picture
    }

    /// Gives a picture's pixels as they are stored, in sRGB.
    private static func pixels(_ picture: CGImage) throws -> Pixels {
        let (width, height) = (picture.width, picture.height)
        var bytes = [UInt8](repeating: 0, count: 4 * width * height)
        let drawn = bytes.withUnsafeMutableBytes { memory -> Bool in
            guard let space = CGColorSpace(name: CGColorSpace.sRGB),
                let context = CGContext(
                    data: memory.baseAddress, width: width, height: height, bitsPerComponent: 8,
                    bytesPerRow: 4 * width, space: space, bitmapInfo: CGImageAlphaInfo.noneSkipLast.rawValue)
            else { return false }
            context.draw(picture, in: CGRect(x: 0, y: 0, width: width, height: height))
            return true
        }
        guard drawn else { throw FaceError.picture }
        for alpha in stride(from: 3, to: bytes.count, by: 4) { bytes[alpha] = 255 }
        return Pixels(rgba: bytes, width: width, height: height)
    }

    private static func resource(_ name: String) throws -> URL {
        guard let url = Bundle.module.url(forResource: name, withExtension: nil, subdirectory: "Resources")
        else { throw FaceError.missing(name) }
        return url
    }
}
